// Runs one coroutine from ordinary code: for programs that do one thing and end.
#pragma once

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <exception>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

#include "shoal/base/async.h"

namespace shoal {

namespace detail {

/// Keeps the promise with what the operation returns or throws. (asio::use_future would keep it on a thread
/// of its own, a moment after the context has run out of work.)
template <typename T>
awaitable<void> keep_promise(std::promise<T>& promise, awaitable<T> operation) {
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(operation);
            promise.set_value();
        } else {
            T result = co_await std::move(operation);
            promise.set_value(std::move(result));
        }
    } catch (...) {
        promise.set_exception(std::current_exception());
    }
}

}  // namespace detail

/// Runs the context on the calling thread until the operation has ended; returns its result or throws what it
/// threw. Other work of the context goes on meanwhile and stands still afterwards, until somebody runs the
/// context again. Throws Error(cancelled) if the context is stopped first.
template <typename T>
T run_until_ended(asio::io_context& context, awaitable<T> operation) {
    // Both outlive an operation that a stopped context has left behind.
    const auto promise = std::make_shared<std::promise<T>>();
    const auto ended = std::make_shared<bool>(false);
    std::future<T> result = promise->get_future();
    context.restart();
    asio::co_spawn(context, detail::keep_promise(*promise, std::move(operation)),
                   [promise, ended](const std::exception_ptr&) { *ended = true; });
    while (!*ended) {
        if (context.run_one() == 0) throw Error(ErrorKind::cancelled, "the context was stopped");
    }
    return result.get();
}

}  // namespace shoal
