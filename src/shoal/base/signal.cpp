// A wait takes one allocation, and a notification posts one function for all that it wakes. There is no timer
// behind it: a context of which nobody asks for more than this needs no reactor, so to poll it, which a
// simulation does after each of its events, takes no call of the kernel.
#include <utility>

#include "shoal/base/async.h"

namespace shoal {

/// All that wait on one context. What waits owns its coroutine, and when the context goes, nobody else would
/// end it.
class Signal::Waiters final : public asio::execution_context::service {
  public:
    using key_type = Waiters;
    static inline asio::execution_context::id id;
    explicit Waiters(asio::execution_context& context) : service(context) {}

    void add(Waiter& waiter);
    void remove(Waiter& waiter);

  private:
    void shutdown() override;

    Waiter* newest_ = nullptr;
};

/// A coroutine that waits: in the list of its signal and in that of its context until it is woken; then it
/// belongs to a Woken.
struct Signal::Waiter {
    Waiter(Signal& of, Waiters& all) : signal(&of), context(all) {
        before = std::exchange(of.last_, this);
        (before != nullptr ? before->after : of.first_) = this;
        context.add(*this);
    }
    virtual ~Waiter() { leave(); }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    /// Frees this object and runs the coroutine up to its next wait.
    virtual void resume() = 0;

    void leave() {
        if (signal == nullptr) return;
        (before != nullptr ? before->after : signal->first_) = after;
        (after != nullptr ? after->before : signal->last_) = before;
        before = after = nullptr;
        signal = nullptr;
        context.remove(*this);
    }

    /// Nothing happens if it has been woken.
    void cancel();

    Signal* signal;  ///< null once it has been woken
    Waiters& context;
    Waiter *before = nullptr, *after = nullptr;  ///< in the list of the signal, or of those woken with it
    Waiter *older = nullptr, *newer = nullptr;   ///< in that of the context
    bool cancelled = false;
};

void Signal::Waiters::add(Waiter& waiter) {
    waiter.older = std::exchange(newest_, &waiter);
    if (waiter.older != nullptr) waiter.older->newer = &waiter;
}

void Signal::Waiters::remove(Waiter& waiter) {
    (waiter.newer != nullptr ? waiter.newer->older : newest_) = waiter.older;
    if (waiter.older != nullptr) waiter.older->newer = waiter.newer;
}

void Signal::Waiters::shutdown() {
    while (newest_ != nullptr) delete newest_;
}

/// Those that one notification has woken. Runs them in order; destroys them if the context goes before.
struct Signal::Woken {
    explicit Woken(Waiter* waiter) : first(waiter) {}
    Woken(Woken&& other) noexcept : first(std::exchange(other.first, nullptr)) {}
    Woken& operator=(Woken&&) = delete;
    ~Woken() {
        while (first != nullptr) delete take();
    }
    void operator()() {
        while (first != nullptr) take()->resume();
    }
    Waiter* take() { return std::exchange(first, first->after); }

    Waiter* first;
};

template <typename Handler>
struct Signal::WaiterOf final : Waiter {
    WaiterOf(Signal& of, Waiters& all, Handler given) : Waiter(of, all), handler(std::move(given)) {}

    void resume() override {
        Handler wakes(std::move(handler));
        const bool was_cancelled = cancelled;
        delete this;
        std::exception_ptr error;
        if (was_cancelled)
            error = std::make_exception_ptr(Error(ErrorKind::cancelled, "the wait was cancelled"));
        std::move(wakes)(error);
    }

    Handler handler;
};

void Signal::Waiter::cancel() {
    if (signal == nullptr) return;
    const asio::any_io_executor executor = signal->executor_;
    leave();
    cancelled = true;
    asio::post(executor, Woken(this));
}

void Signal::wake_all(bool cancelled) {
    if (first_ == nullptr) return;
    for (Waiter* waiter = first_; waiter != nullptr; waiter = waiter->after) {
        waiter->signal = nullptr;
        waiter->cancelled = cancelled;
        waiter->context.remove(*waiter);
    }
    last_ = nullptr;
    asio::post(executor_, Woken(std::exchange(first_, nullptr)));
}

Signal::~Signal() {
    wake_all(true);
}

void Signal::notify() {
    wake_all(false);
}

awaitable<void> Signal::wait() {
    auto begin = [this]<typename Handler>(Handler handler) {
        if (of_context_ == nullptr)
            of_context_ = &asio::use_service<Waiters>(asio::query(executor_, asio::execution::context));
        asio::cancellation_slot slot = asio::get_associated_cancellation_slot(handler);
        Waiter* const waiter = new WaiterOf<Handler>(*this, *of_context_, std::move(handler));
        if (slot.is_connected()) slot.assign([waiter](asio::cancellation_type) { waiter->cancel(); });
    };
    return asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(std::move(begin),
                                                                                         asio::use_awaitable);
}

}  // namespace shoal
