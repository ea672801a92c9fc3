// What tools/check_style must refuse. Never compiled: g++ 12 would compile it, wrongly.
awaitable<void> bad(Executor executor, int value, bool choice) {
    co_await call({.key = 1});                     // refused
    co_await call(Parameters{1, 2});               // refused
    const int x = co_await call(Parameters{});     // refused
    const int y = choice ? co_await call(Parameters{value}) : 0;  // refused
    co_await call([value] { return value; });      // refused
    co_await call([&] { return value; });          // refused
    co_await call([this]() -> awaitable<void> {    // refused
        co_return;
    });
    co_await co_spawn(
        executor,
        [value]() -> awaitable<void> {  // refused
            co_await other();
        },
        use_awaitable);
    co_await call(first,
                  second,
                  Parameters{         // refused
                      .key = value,
                  });
    if (co_await call(Parameters{value})) {  // refused
        other();
    }
    while (co_await next()) other();  // refused
    while (!(co_await next()).empty()) {  // refused
        other();
    }
    do other();
    while (co_await next());  // refused
    while (co_await call({value})) other();  // refused
    for (const int item : co_await list(Parameters{value})) other(item);  // refused
    co_return co_await call({value});  // refused
    use(Parameters{1}, co_await other());  // refused
    const Pair pair{co_await other(), 1};  // refused
    for (int i = 0; i < 3; ++i) co_await call([=] { return i; });  // refused
    EXPECT_EQ(co_await other(), (Bytes{1, 2}));  // refused
    auto task = [](int number) -> awaitable<void> {
        co_await call({number});  // refused
    };
    co_await call([](int number) -> awaitable<void> {
        co_await call({number});  // refused
    });
    co_await call(std::vector<int>{1, 2});  // refused
    co_await (call({1, 2}) || call(nothing));  // refused
    const Name name = choice ? co_await find() : Name(1);  // refused
    use(choice ? first : second, co_await other());        // refused
    co_await (choice ? call(first) : call(second));        // refused
    co_yield Parameters{1};                                // refused
    co_await call(decltype(value){});                      // refused
    co_await call(new int[2]{1, 2});                       // refused
    for (const int item : {co_await other(), 1}) use(item);  // refused
    for (; co_await next();) other();  // refused
    for (int i = 0; i < co_await other(); ++i) use(i);  // refused
    co_await call(Plain(1, 2));                // refused
    co_await call(Later(value));               // refused
    const Plain plain(co_await other(), 1);    // refused
    auto* made = new Plain(1, co_await other());  // refused
    co_await with_default(1);                  // refused
    co_await with_default(
        other(1, 2),
        make_default());                       // refused
    co_await call(WithDefault(1));             // refused
    const WithDefault with(co_await other());  // refused
    co_await by_reference();                   // refused
}

struct Plain {
    int a = 0;
    int b = 0;
    int sum() const { return a + b; }
};
awaitable<int> with_default(int a, Plain plain = {});
int make_default(Plain plain = Plain{});
awaitable<int> by_reference(const Plain& plain = {});
struct WithDefault {
    explicit WithDefault(int a, Plain p = {});
    Plain plain;
};
struct Later : Plain {
    int c = 0;
};
