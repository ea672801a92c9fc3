// What tools/check_style must let pass: the same things, with a name first.
struct Parameters {
    Parameters(int k, std::vector<int> v) : key(k), values{std::move(v)} {}
    int key = 0;
    std::vector<int> values{};
};

Holder::Holder(Executor e) : executor_(e), state_{1, 2} { start(); }

awaitable<void> good(Executor executor, int value, bool choice) {
    Parameters parameters{value, {1, 2}};
    co_await call(std::move(parameters));
    auto waiting = call({.key = 1});
    co_await std::move(waiting);
    auto task = [value]() -> awaitable<void> {
        co_await other();
        co_return;
    };
    co_await co_spawn(executor, std::move(task), use_awaitable);
    co_await call([](int number) { return number + 1; });  // captures nothing
    if (choice) {
        co_await other();
    } else {
        co_await other();
    }
    if (auto found = table.find(key); found != table.end()) co_await other();
    while (more) {
        more = co_await next();
        use({value});
    }
    for (const int item : {1, 2, 3}) {
        co_await other(item);
    }
    for (const auto& [name, count] : co_await list()) use(Pair{name, count});
    auto [first, second] = co_await both();
    co_await other(array[first], (*matrix)[second]);
    try {
        co_await other();
    } catch (const Error& error) {
        throw Error{error};
    }
    do {
        co_await other();
    } while (choice);
    switch (co_await other()) {
        case 1: {
            use(Pair{1, 2});
            break;
        }
        default: break;
    }
    // co_await call({.key = 1});
    /* co_await call({.key = 1}); */
    co_await print("{}", 'x', "{ \" }", R"(co_await call({1}))");
    co_await sleep(1'000'000);
    std::sort(items.begin(), items.end(), [&](int a, int b) { return a < b + value; });
    spawn([this, value] { return run(value); });
    const auto result = co_await other();
    co_return Pair{result, 1};
    [[maybe_unused]] const bool known = co_await other();
    const std::string reason = choice ? "one" : "another";
    co_await stop(reason);
    co_await call(Known(1, 2));
    co_await call(Abstract(value));
    co_await call(Named());
    Named named(1, 2);
    co_await defaulted(1, named);
    co_await defaulted();  // another function: that one needs an argument
    co_await harmless(1);
    for (auto item = co_await other(); item < 3; ++item) use(item);
    co_await other([](int number) { return number > 0 ? Pair{1, 2} : Pair{2, 1}; });
}

struct Named {
    int a = 0, b = 0;
};
struct Known {
    Known(int a, int b);
    int a, b;
};
struct Abstract : Base {
    virtual ~Abstract() = default;
};
awaitable<int> defaulted(int a, Named named = {});
awaitable<int> harmless(int a, std::string text = {}, Known known = {});
