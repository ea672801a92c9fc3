// How a call uses its stream: the caller writes the request and keeps its side open; the server writes the
// answer and finishes; the caller finishes. So a reset before the answer always means that the caller gave
// up, and the server, which keeps reading while its handler works, notices at once.
#include "shoal/net/rpc.h"

#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "shoal/base/async.h"
#include "shoal/base/error.h"

namespace shoal::net {
namespace {

/// Ends a stream with a reason if the scope is left by an exception.
class ResetOnFailure {
  public:
    explicit ResetOnFailure(StreamPointer stream) : stream_(std::move(stream)) {}
    ResetOnFailure(const ResetOnFailure&) = delete;
    ResetOnFailure& operator=(const ResetOnFailure&) = delete;
    ~ResetOnFailure() {
        if (stream_) stream_->reset("the caller gave up");
    }
    void release() { stream_.reset(); }

  private:
    StreamPointer stream_;
};

awaitable<Message> exchange(Network& network, PeerId peer, std::string method, Message request) {
    StreamPointer stream = co_await network.open(peer, method);
    ResetOnFailure guard(stream);
    co_await stream->write(request.control, request.payload);
    std::optional<Message> answer = co_await stream->read();
    guard.release();
    stream->finish();
    if (!answer) {
        throw Error(ErrorKind::protocol_violation, "ended the call of '" + method + "' without an answer",
                    peer.short_name());
    }
    co_return std::move(*answer);
}

/// What the serving of one call shares between its coroutines.
struct Serving {
    Serving(StreamPointer s, std::shared_ptr<CallHandler> h, const asio::any_io_executor& executor)
        : stream(std::move(s)), handler(std::move(h)), tasks(executor) {}
    StreamPointer stream;
    std::shared_ptr<CallHandler> handler;
    TaskGroup tasks;
    std::optional<Message> answer;
};

/// Ends when the caller finishes or the answer is there; throws when the caller gives up or is lost.
awaitable<void> watch_caller(Serving& serving) {
    try {
        const std::optional<Message> more = co_await serving.stream->read();
        if (more) {
            throw Error(ErrorKind::protocol_violation, "sent more than one request in a call",
                        serving.stream->peer().short_name());
        }
    } catch (...) {
        if (!is_cancellation(std::current_exception())) throw;
    }
}

awaitable<void> run_handler(Serving& serving, Message request) {
    serving.answer = co_await (*serving.handler)(serving.stream->peer(), std::move(request));
    serving.tasks.cancel();  // the watcher
}

/// The caller finishes once it has the answer; to drop the stream earlier could take the answer from it.
awaitable<void> await_end(StreamPointer stream) {
    bool more = true;
    while (more) {
        const std::optional<Message> message = co_await stream->read();
        more = message.has_value();
    }
}

awaitable<void> serve_one(Clock& clock, std::string method, std::shared_ptr<CallHandler> handler,
                          StreamPointer stream, Duration timeout) {
    awaitable<std::optional<Message>> reading = stream->read();
    std::optional<Message> request = co_await with_deadline(clock, clock.now() + timeout, std::move(reading),
                                                            "waiting for the request of '" + method + "'");
    if (!request) co_return;

    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    Serving serving(stream, std::move(handler), executor);
    serving.tasks.spawn(run_handler(serving, std::move(*request)));
    serving.tasks.spawn(watch_caller(serving));
    co_await serving.tasks.join();

    co_await stream->write(serving.answer->control, serving.answer->payload);
    stream->finish();
    try {
        awaitable<void> ending = await_end(stream);
        co_await with_deadline(clock, clock.now() + timeout, std::move(ending),
                               "waiting for the end of a call");
    } catch (const Error&) {
        // The answer is out; how the caller ends the stream is its own affair.
    }
}

}  // namespace

awaitable<Message> call(Network& network, Clock& clock, PeerId peer, std::string method, Message request,
                        TimePoint deadline) {
    const std::string what = "the call of '" + method + "' at peer " + peer.short_name();
    awaitable<Message> exchanging = exchange(network, peer, std::move(method), std::move(request));
    co_return co_await with_deadline(clock, deadline, std::move(exchanging), what);
}

void serve_calls(Network& network, Clock& clock, std::string method, CallHandler handler, Audience audience,
                 Duration request_timeout) {
    if (!handler) return network.serve(std::move(method), StreamHandler());
    auto shared = std::make_shared<CallHandler>(std::move(handler));
    // Not a coroutine itself: the coroutine gets copies, and outlives this object when the handler is
    // replaced.
    auto serve = [&clock, method, shared, request_timeout](StreamPointer stream) {
        return serve_one(clock, method, shared, std::move(stream), request_timeout);
    };
    network.serve(method, serve, audience);
}

}  // namespace shoal::net
