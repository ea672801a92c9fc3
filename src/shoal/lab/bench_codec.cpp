#include "shoal/lab/bench_codec.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/quantize_per_channel.h>
#include <ATen/ops/quantize_per_tensor.h>
#include <ATen/ops/rand_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/topk.h>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/compress/codec.h"
#include "shoal/lab/median.h"

namespace shoal::lab {

namespace {

constexpr double kDemandedShare = 0.6;
/// Top-k may take as long as four passes, each a memcpy.
constexpr double kDemandedShareOfTopK = 0.25;

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
    std::vector<double> our_seconds, their_seconds;  ///< by turn
    std::vector<double> shares, advantages;          ///< of memcpy's rate; our rate over theirs
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
        for (const std::string_view name : compress::codec_examples()) add_codec(name);
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
                if (!job.theirs) continue;
                job.their_seconds.push_back(theirs);
                job.advantages.push_back(theirs / ours);
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
        // A scale for each 4096, and equal steps: the nearest that libtorch has to blockwise8.
        if (size >= 4096) {
            const at::Tensor blocks = floats.slice(0, 0, size / 4096 * 4096).view({-1, 4096});
            const at::Tensor zeros = at::full({blocks.size(0)}, 0, at::kLong);
            const auto quantise = [=] {
                return at::quantize_per_channel(blocks, blocks.abs().amax(1).div_(127).to(at::kDouble), zeros,
                                                0, at::kQInt8);
            };
            const at::Tensor encoded = quantise();
            compare("blockwise8", "encode", "abs, amax, quantize_per_channel", [=] { quantise(); });
            compare("blockwise8", "decode", "dequantize", [=] { encoded.dequantize(); });
        }
        // One scale for all: the nearest that libtorch has to equal steps in blocks.
        const double scale = 0.1 / 255;
        const at::Tensor quantised = at::quantize_per_tensor(floats, scale, 128, at::kQUInt8);
        compare("uniform8", "encode", "quantize_per_tensor",
                [=] { at::quantize_per_tensor(floats, scale, 128, at::kQUInt8); });
        compare("uniform8", "decode", "dequantize", [=] { quantised.dequantize(); });
        compare("sign", "encode", "abs, mean, sign to kChar",
                [=] { floats.abs().mean(), floats.sign().to(at::kChar); });
        compare("qsgd:4", "encode", "norm, mul, add rand, floor, to(kChar)", [=] {
            floats.mul(floats.norm().reciprocal().mul_(4)).add_(at::rand_like(floats)).floor_().to(at::kChar);
        });
        add_libtorch_sparse(floats, target, sum, 0.01, "top_k:0.01", "abs, topk, index_select",
                            [](auto x, auto k) { return std::get<1>(at::topk(x.abs(), k, 0, true, false)); });
        add_libtorch_sparse(floats, target, sum, 0.1, "rand_k:0.1", "randperm, index_select",
                            [size](auto, auto k) { return at::randperm(size, at::kLong).slice(0, 0, k); });
        add_libtorch_power_sgd(floats, target);
    }

    /// With a function that finds the k indices to keep.
    template <typename Choose>
    void add_libtorch_sparse(const at::Tensor& floats, const at::Tensor& target, const at::Tensor& sum,
                             double share, const char* codec, const char* name, Choose choose) {
        const auto kept =
            std::max<std::int64_t>(1, std::llround(share * static_cast<double>(floats.size(0))));
        const at::Tensor indices = choose(floats, kept), values = floats.index_select(0, indices);
        compare(codec, "encode", name, [=] { floats.index_select(0, choose(floats, kept)); });
        compare(codec, "decode", "zero_, index_copy_",
                [=] { target.zero_(), target.index_copy_(0, indices, values); });
        compare(codec, "add", "index_add_", [=] { sum.index_add_(0, indices, values, 0.25); });
    }

    void add_libtorch_power_sgd(const at::Tensor& floats, const at::Tensor& target) {
        const auto side = static_cast<std::int64_t>(std::sqrt(static_cast<double>(floats.size(0))));
        const at::Tensor matrix = floats.slice(0, 0, side * side).view({side, side});
        const at::Tensor result = target.slice(0, 0, side * side).view({side, side});
        const at::Tensor start = at::randn({side, 4});
        const auto project = [=] {
            const at::Tensor p = std::get<0>(at::linalg_qr(at::matmul(matrix, start)));
            return std::pair(p, at::matmul(matrix.t(), p));
        };
        const auto [p, q] = project();
        compare("power_sgd:4", "encode", "matmul, qr, matmul", [=] { project(); });
        compare("power_sgd:4", "decode", "matmul", [=, p = p, q = q] { result.copy_(at::matmul(p, q.t())); });
    }

    int turns_;
    std::vector<float> values_, target_, sum_;
    std::vector<Job> jobs_;
    std::vector<double> copy_seconds_;
};

/// The share of memcpy's rate that a job must reach; 0 of most.
double demanded(const Job& job) {
    if (job.codec == "fp16" || job.codec == "bf16" || job.codec == "blockwise8") return kDemandedShare;
    return job.codec == "top_k:0.01" && job.operation == "encode" ? kDemandedShareOfTopK : 0;
}

/// Shares of memcpy's rate over how much smaller the codec makes a vector.
void draw(const Bench& bench, const std::filesystem::path& file) {
    std::map<std::string, run::Curve> curves;
    for (const Job& job : bench.jobs()) {
        run::Curve& curve = curves[job.operation];
        curve.title = job.operation;
        curve.points = true;
        curve.x.push_back(std::log2(bench.ratio(job.codec)));
        curve.y.push_back(100 * median(job.shares));
    }
    run::Picture picture{"Codecs on one core",
                         "bytes of floats for an encoded byte, as a power of two",
                         "% of memcpy's rate",
                         {},
                         {}};
    for (auto& [operation, curve] : curves) picture.curves.push_back(std::move(curve));
    run::draw(picture, file);
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
    fmt::print("{:<21} {:<7} {:>7} {:>7} {:>10}  {}\n", "codec", "", "ratio", "GB/s", "of memcpy",
               "times libtorch's rate");
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
            row["libtorch"] = {{"operation", job.their_name},
                               {"rate", bench.rate(job.their_seconds)},
                               {"times_its_rate", median(job.advantages)}};
            theirs = fmt::format("{:.2f} ({:.2f} GB/s, {})", median(job.advantages),
                                 bench.rate(job.their_seconds), job.their_name);
        }
        result.json()["codecs"].push_back(row);
        fmt::print("{:<21} {:<7} {:>7.2f} {:>7.2f} {:>8.1f} %  {}\n", job.codec, job.operation,
                   bench.ratio(job.codec), bench.rate(job.our_seconds), 100 * share, theirs);
        if (demanded(job) > 0)
            result.demand_at_least(fmt::format("{} {}: share of memcpy's rate", job.codec, job.operation),
                                   share, demanded(job));
    }
    if (!options.result.plot.empty()) draw(bench, options.result.plot);
    return result.finish();
}

}  // namespace shoal::lab
