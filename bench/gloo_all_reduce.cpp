// gloo's ring all-reduce over TCP on loopback, as a yardstick.
// Usage: shoal-bench-gloo RANK SIZE STORE_FOLDER ELEMENTS ROUNDS
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <unistd.h>
#include <vector>

int main(int count, char** arguments) {
    if (count != 6) {
        std::fprintf(stderr, "usage: shoal-bench-gloo RANK SIZE STORE_FOLDER ELEMENTS ROUNDS\n");
        return 2;
    }
    setsid();  // as ours do: all_reduce_contestants.h says why
    const int rank = std::atoi(arguments[1]), size = std::atoi(arguments[2]),
              rounds = std::atoi(arguments[5]);
    const auto elements = static_cast<std::size_t>(std::atoll(arguments[4]));

    auto device = gloo::transport::tcp::CreateDevice("127.0.0.1");
    gloo::rendezvous::FileStore store(arguments[3]);
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, size);
    context->connectFullMesh(store, device);

    std::vector<float> input(elements), output(elements);
    for (std::size_t i = 0; i < elements; ++i)
        input[i] = static_cast<float>(rank) + static_cast<float>(i % 1000) * 1e-3f;
    gloo::BarrierOptions barrier(context);
    gloo::AllreduceOptions all_reduce(context);
    all_reduce.setInput(input.data(), elements);
    all_reduce.setOutput(output.data(), elements);
    all_reduce.setReduceFunction(
        [](void* sum, const void* a, const void* b, std::size_t n) { gloo::sum<float>(sum, a, b, n); });
    for (int round = 0; round < rounds; ++round) {
        gloo::barrier(barrier);
        const auto start = std::chrono::steady_clock::now();
        const std::clock_t busy = std::clock();
        gloo::allreduce(all_reduce);
        const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - start;
        std::printf("%.6f %.6f\n", whole.count(), static_cast<double>(std::clock() - busy) / CLOCKS_PER_SEC);
    }
    gloo::barrier(barrier);
}
