#include "shoal/lab/bench_codec.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/quantize_per_tensor.h>
#include <algorithm>
#include <cstring>
#include <ctime>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/compress/codec.h"
#include "shoal/lab/median.h"

namespace shoal::lab {

namespace {

constexpr double kDemandedShare = 0.6;

/// CPU seconds of this thread that a call takes.
double seconds_of(const std::function<void()>& action) {
    const auto now = [] {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
    };
    const double start = now();
    action();
    return now() - start;
}

/// One row of the table.
struct Job {
    std::string codec, operation;
    std::function<void()> ours, theirs;  ///< libtorch's; may be empty
    std::string their_name;
    std::vector<double> our_seconds, their_seconds, shares;  ///< by turn; shares of memcpy's rate
};

class Bench {
  public:
    Bench(std::size_t count, int turns) : turns_(turns), values_(count), target_(count), sum_(count) {
        // Gradients are roughly normal, and their size differs from tensor to tensor.
        Random random(1);
        float deviation = 1;
        for (std::size_t i = 0; i < count; ++i) {
            if (i % 10000 == 0) deviation = static_cast<float>(random.uniform() * 0.01);
            values_[i] = static_cast<float>(random.normal()) * deviation;
        }
        for (const std::string_view name : compress::codec_names()) add_codec(name);
        add_libtorch();
    }

    void run() {
        for (int turn = -1; turn < turns_; ++turn) {  // the first warms up
            for (Job& job : jobs_) {
                const double copy = seconds_of([this] { copy_values(); });
                const double ours = seconds_of(job.ours);
                const double theirs = job.theirs ? seconds_of(job.theirs) : 0;
                if (turn < 0) continue;
                copy_seconds_.push_back(copy);
                job.our_seconds.push_back(ours);
                job.shares.push_back(copy / ours);
                if (job.theirs) job.their_seconds.push_back(theirs);
            }
        }
    }

    const std::vector<Job>& jobs() const { return jobs_; }
    /// Gigabytes of floats a second.
    double rate(const std::vector<double>& seconds) const {
        return static_cast<double>(values_.size() * sizeof(float)) / median(seconds) / 1e9;
    }
    double memcpy_rate() const { return rate(copy_seconds_); }
    /// Bytes of floats for each encoded byte.
    double ratio(std::string_view codec) const {
        const std::size_t encoded = compress::make_codec(codec)->encoded_size(values_.size());
        return static_cast<double>(values_.size() * sizeof(float)) / static_cast<double>(encoded);
    }

  private:
    void copy_values() { std::memcpy(target_.data(), values_.data(), values_.size() * sizeof(float)); }

    void add_codec(std::string_view name) {
        const std::shared_ptr<const compress::Codec> codec = compress::make_codec(name);
        const auto encoded = std::make_shared<Bytes>(codec->encode(values_));
        const auto add = [&](const char* operation, std::function<void()> work) {
            Job job;
            job.codec = name;
            job.operation = operation;
            job.ours = std::move(work);
            jobs_.push_back(std::move(job));
        };
        add("encode", [this, codec, encoded] { codec->encode(values_, *encoded); });
        add("decode", [this, codec, encoded] { codec->decode(*encoded, target_); });
        add("add", [this, codec, encoded] { codec->decode_scaled_add(*encoded, 0.25F, sum_); });
    }

    void compare(const std::string& codec, const std::string& operation, std::string name,
                 std::function<void()> work) {
        for (Job& job : jobs_) {
            if (job.codec != codec || job.operation != operation) continue;
            job.theirs = std::move(work);
            job.their_name = std::move(name);
        }
    }

    void add_libtorch() {
        at::set_num_threads(1);
        const auto size = static_cast<std::int64_t>(values_.size());
        const at::Tensor floats = at::from_blob(values_.data(), {size}, at::kFloat);
        const at::Tensor target = at::from_blob(target_.data(), {size}, at::kFloat);
        const at::Tensor sum = at::from_blob(sum_.data(), {size}, at::kFloat);
        for (const auto& [codec, type, name] :
             {std::tuple("fp16", at::kHalf, "kHalf"), std::tuple("bf16", at::kBFloat16, "kBFloat16")}) {
            const at::Tensor encoded = floats.to(type);
            compare(codec, "encode", fmt::format("to({})", name), [=] { encoded.copy_(floats); });
            compare(codec, "decode", "to(kFloat)", [=] { target.copy_(encoded); });
            compare(codec, "add", fmt::format("add_({} tensor, alpha)", name),
                    [=] { sum.add_(encoded, 0.25); });
        }
        // One scale for all: the nearest that libtorch has to equal steps in blocks.
        const double scale = 0.1 / 255;
        const at::Tensor quantised = at::quantize_per_tensor(floats, scale, 128, at::kQUInt8);
        compare("uniform8", "encode", "quantize_per_tensor",
                [=] { at::quantize_per_tensor(floats, scale, 128, at::kQUInt8); });
        compare("uniform8", "decode", "dequantize", [=] { quantised.dequantize(); });
    }

    int turns_;
    std::vector<float> values_, target_, sum_;
    std::vector<Job> jobs_;
    std::vector<double> copy_seconds_;
};

bool is_demanded(const Job& job) {
    return job.codec == "fp16" || job.codec == "bf16" || job.codec == "blockwise8";
}

}  // namespace

int bench_codec(const BenchCodecOptions& options) {
    const std::size_t bytes =
        options.result.quick ? std::min(options.bytes, std::size_t{16} << 20) : options.bytes;
    const int turns = options.result.quick ? std::min(options.turns, 7) : options.turns;
    Bench bench(std::max<std::size_t>(1, bytes / sizeof(float)), turns);
    bench.run();

    run::Result result("bench codec", options.result);
    fmt::print("{:.1f} MiB of floats, one core, {} turns; memcpy {:.1f} GB/s\n",
               static_cast<double>(bytes) / (1 << 20), turns, bench.memcpy_rate());
    fmt::print("{:<11} {:<7} {:>6} {:>9} {:>10}  {}\n", "codec", "", "ratio", "GB/s", "of memcpy",
               "libtorch, GB/s");
    result.json()["bytes"] = bytes;
    result.json()["turns"] = turns;
    result.json()["memcpy"] = bench.memcpy_rate();
    result.json()["codecs"] = nlohmann::json::array();
    for (const Job& job : bench.jobs()) {
        const double share = median(job.shares);
        nlohmann::json row = {{"codec", job.codec},
                              {"operation", job.operation},
                              {"ratio", bench.ratio(job.codec)},
                              {"rate", bench.rate(job.our_seconds)},
                              {"share_of_memcpy", share}};
        std::string theirs;
        if (job.theirs) {
            row["libtorch"] = {{"operation", job.their_name}, {"rate", bench.rate(job.their_seconds)}};
            theirs = fmt::format("{:.1f} {}", bench.rate(job.their_seconds), job.their_name);
        }
        result.json()["codecs"].push_back(row);
        fmt::print("{:<11} {:<7} {:>6.2f} {:>9.1f} {:>8.0f} %  {}\n", job.codec, job.operation,
                   bench.ratio(job.codec), bench.rate(job.our_seconds), 100 * share, theirs);
        if (is_demanded(job))
            result.demand_at_least(fmt::format("{} {}: share of memcpy's rate", job.codec, job.operation),
                                   share, kDemandedShare);
    }
    return result.finish();
}

}  // namespace shoal::lab
