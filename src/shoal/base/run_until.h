// Runs one coroutine from ordinary code: for programs that do one thing and end.
#pragma once

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_future.hpp>
#include <chrono>
#include <future>
#include <utility>

#include "shoal/base/async.h"

namespace shoal {

/// Runs the context on the calling thread until the operation has ended; returns its result or throws what it
/// threw. Other work of the context goes on meanwhile and stands still afterwards, until somebody runs the
/// context again. Throws Error(cancelled) if the context is stopped first.
template <typename T>
T run_until_ended(asio::io_context& context, awaitable<T> operation) {
    std::future<T> result = asio::co_spawn(context, std::move(operation), asio::use_future);
    context.restart();
    while (result.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        if (context.run_one() == 0) throw Error(ErrorKind::cancelled, "the context was stopped");
    }
    return result.get();
}

}  // namespace shoal
