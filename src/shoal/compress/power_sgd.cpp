#include "shoal/compress/power_sgd.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/compress/exact_floating_point.h"
#include "shoal/compress/not_finite.h"
#include "shoal/compress/power_sgd_kernels.h"

namespace shoal::compress {

namespace {

/// What becomes of a shape for vectors of a given length.
struct Layout {
    std::size_t rank = 0, rows = 0, columns = 0;
    bool plain = true;  ///< the values travel as they are

    std::size_t numbers() const { return rank * (rows + columns); }
};

Layout layout_of(std::string_view codec, const PowerSgdShape& shape, std::size_t count) {
    Layout layout;
    if (count == 0) return layout;
    layout.rows = shape.rows;
    layout.columns = shape.columns;
    if (shape.columns == 0) {
        const auto root = static_cast<std::size_t>(std::sqrt(static_cast<double>(count)));
        layout.columns = root * root < count ? root + 1 : root;
        layout.rows = (count + layout.columns - 1) / layout.columns;
    } else if (count != shape.rows * shape.columns) {
        throw Error(ErrorKind::invalid_argument,
                    std::string(codec) + ": a vector of " + std::to_string(count) +
                        " values is no such matrix; leave the shape out, or name the right one");
    }
    layout.rank = std::min({shape.rank, layout.rows, layout.columns});
    layout.plain = 1 + layout.numbers() >= count;
    return layout;
}

/// Gram and Schmidt, each vector twice, in double precision. A vector that depends on those before it becomes
/// zero.
void make_orthonormal(std::span<float> p, std::size_t rank) {
    const std::size_t length = p.size() / rank;
    std::vector<double> basis(p.begin(), p.end());
    const auto product = [&](std::size_t a, std::size_t b) {
        double sum = 0;
        for (std::size_t i = 0; i < length; ++i) sum += basis[a * length + i] * basis[b * length + i];
        return sum;
    };
    for (std::size_t c = 0; c < rank; ++c) {
        const double before = std::sqrt(product(c, c));
        for (std::size_t round = 0; round < 2; ++round) {
            for (std::size_t earlier = 0; earlier < c; ++earlier) {
                const double share = product(earlier, c);
                for (std::size_t i = 0; i < length; ++i)
                    basis[c * length + i] -= share * basis[earlier * length + i];
            }
        }
        const double norm = std::sqrt(product(c, c));
        const double factor = norm > 1e-10 * before ? 1 / norm : 0;
        for (std::size_t i = 0; i < length; ++i) {
            basis[c * length + i] *= factor;
            p[c * length + i] = static_cast<float>(basis[c * length + i]);
        }
    }
}

/// Columns of zeros are drawn; the others brought to where no product overflows.
void prepare_start(std::span<float> q, std::size_t rank, std::uint64_t seed) {
    Random random(seed);
    const std::size_t length = q.size() / rank;
    for (std::size_t c = 0; c < rank; ++c) {
        const std::span<float> column = q.subspan(c * length, length);
        const auto largest = std::bit_cast<float>(largest_magnitude_bits(column.data(), length));
        if (largest == 0) {
            for (float& number : column) number = static_cast<float>(random.normal());
        } else {
            for (float& number : column) number /= largest;
        }
    }
}

// The scale is a power of two not above the largest magnitude, so elements of the matrix are below 2, those
// of an orthonormal P at most 1, and those of Q = M^T P at most 2 sqrt(rows), rows < 2^32. Roundings are far
// less than another factor of 2.
constexpr float kLargestP = 2, kLargestQ = 0x1p18F;

/// Encoded: the scale (4 bytes), P, Q (each column after column).
class PowerSgdCodec final : public Codec {
  public:
    PowerSgdCodec(std::string name, PowerSgdShape shape) : name_(std::move(name)), shape_(shape) {}

    std::string_view name() const override { return name_; }
    std::size_t encoded_size(std::size_t count) const override {
        const Layout layout = layout_for(count);
        return sizeof(float) * (layout.plain ? count : 1 + layout.numbers());
    }
    std::size_t granularity() const override { return kUncuttable; }

    Layout layout_for(std::size_t count) const { return layout_of(name_, shape_, count); }

    /// With the Q to start from; leaves the new one there unless the values are not finite.
    void encode_from(std::span<const float> values, std::span<float> q, std::uint8_t* encoded,
                     std::uint64_t seed) const {
        const Layout layout = layout_for(values.size());
        if (layout.plain) {
            std::memcpy(encoded, values.data(), values.size_bytes());
            return;
        }
        const std::int32_t largest = largest_magnitude_bits(values.data(), values.size());
        constexpr std::int32_t kExponent = 0x7F800000, kSmallest = 0x00800000;
        const std::int32_t scale = std::max(largest & kExponent, kSmallest);
        if (scale == kExponent) {
            std::memset(encoded, 0, encoded_size(values.size()));
            std::memcpy(encoded, &kNotFiniteBits, sizeof(kNotFiniteBits));
            return;
        }
        const Matrix matrix{values.data(), values.size(), layout.rows, layout.columns,
                            1 / std::bit_cast<float>(scale)};
        prepare_start(q, layout.rank, seed);
        std::vector<float> p(layout.rank * layout.rows);
        multiply(matrix, q.data(), layout.rank, p.data());
        make_orthonormal(p, layout.rank);
        multiply_transposed(matrix, p.data(), layout.rank, q.data());
        std::memcpy(encoded, &scale, sizeof(scale));
        std::memcpy(encoded + sizeof(scale), p.data(), p.size() * sizeof(float));
        std::memcpy(encoded + sizeof(scale) + p.size() * sizeof(float), q.data(), q.size_bytes());
    }

  protected:
    Guarantee do_guarantee(std::size_t count) const override {
        const Layout layout = layout_for(count);
        if (layout.plain) return {.variance_factor = 1, .contraction = 1};
        return {.contraction = static_cast<double>(layout.columns) / static_cast<double>(layout.rank)};
    }

    void do_encode(std::span<const float> values, std::uint8_t* encoded, std::uint64_t seed) const override {
        const Layout layout = layout_for(values.size());
        std::vector<float> q(layout.plain ? 0 : layout.rank * layout.columns);
        encode_from(values, q, encoded, seed);
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        const Layout layout = layout_for(values.size());
        if (layout.plain) {
            std::memcpy(values.data(), encoded, values.size_bytes());
            return;
        }
        std::vector<float> numbers;
        const Product product = read(layout, encoded, numbers);
        if (product.factor == product.factor)
            decode_product(product, values.data(), values.size());
        else
            std::fill(values.begin(), values.end(), not_finite_mark());
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        const Layout layout = layout_for(sum.size());
        if (layout.plain) {
            for (std::size_t i = 0; i < sum.size(); ++i) {
                float value;
                std::memcpy(&value, encoded + i * sizeof(value), sizeof(value));
                sum[i] += scale * value;
            }
            return;
        }
        std::vector<float> numbers;
        const Product product = read(layout, encoded, numbers);
        if (product.factor == product.factor)
            scaled_add_product(product, scale, sum.data(), sum.size());
        else
            for (float& value : sum) value += scale * not_finite_mark();
    }

  private:
    /// Checked. The numbers of P and Q are copied to where they are aligned.
    Product read(const Layout& layout, const std::uint8_t* encoded, std::vector<float>& numbers) const {
        std::uint32_t scale;
        std::memcpy(&scale, encoded, sizeof(scale));
        numbers.resize(layout.numbers());
        std::memcpy(numbers.data(), encoded + sizeof(scale), numbers.size() * sizeof(float));
        const std::span<const float> p = std::span<const float>(numbers).first(layout.rank * layout.rows);
        const std::span<const float> q = std::span<const float>(numbers).subspan(p.size());
        const bool power_of_two = scale >= 0x00800000U && scale < 0x7F800000U && (scale & 0x007FFFFFU) == 0;
        const bool near =
            largest_magnitude_bits(p.data(), p.size()) <= std::bit_cast<std::int32_t>(kLargestP) &&
            largest_magnitude_bits(q.data(), q.size()) <= std::bit_cast<std::int32_t>(kLargestQ);
        if ((!power_of_two && scale != kNotFiniteBits) || !near)
            throw Error(ErrorKind::protocol_violation,
                        name_ +
                            ": a scale or a factor of the matrix is out of range; a correct peer never "
                            "sends that");
        return {p.data(), q.data(), layout.rank, layout.rows, layout.columns, std::bit_cast<float>(scale)};
    }

    std::string name_;
    PowerSgdShape shape_;
};

}  // namespace

std::unique_ptr<const Codec> make_power_sgd(std::string name, PowerSgdShape shape) {
    return std::make_unique<PowerSgdCodec>(std::move(name), shape);
}

PowerSgd::PowerSgd(std::string_view name, std::size_t count) : codec_(make_codec(name)), count_(count) {
    const auto* codec = dynamic_cast<const PowerSgdCodec*>(codec_.get());
    if (codec == nullptr)
        throw Error(ErrorKind::invalid_argument,
                    "'" + std::string(name) + "' has no warm start; power_sgd:RANK has");
    const Layout layout = codec->layout_for(count);
    if (!layout.plain) q_.resize(layout.rank * layout.columns);
}

void PowerSgd::encode(std::span<const float> values, MutableByteView encoded, std::uint64_t seed) {
    if (values.size() != count_ || encoded.size() != codec_->encoded_size(count_))
        throw Error(ErrorKind::invalid_argument,
                    std::string(codec_->name()) + ": " + std::to_string(values.size()) + " values into " +
                        std::to_string(encoded.size()) + " bytes, instead of " + std::to_string(count_) +
                        " into " + std::to_string(codec_->encoded_size(count_)));
    if (values.empty()) return;
    const ExactFloatingPoint exact;
    static_cast<const PowerSgdCodec&>(*codec_).encode_from(values, q_, encoded.data(), seed);
}

Bytes PowerSgd::encode(std::span<const float> values, std::uint64_t seed) {
    Bytes encoded(codec_->encoded_size(count_));
    encode(values, encoded, seed);
    return encoded;
}

void PowerSgd::reset() {
    std::fill(q_.begin(), q_.end(), 0.0F);
}

void PowerSgd::restore(std::span<const float> state) {
    const bool finite = std::all_of(state.begin(), state.end(), [](float x) { return std::isfinite(x); });
    if (state.size() != q_.size() || !finite)
        throw Error(ErrorKind::invalid_argument,
                    std::string(codec_->name()) + ": the saved start has " + std::to_string(state.size()) +
                        " numbers, or some that are not finite; it takes " + std::to_string(q_.size()));
    std::copy(state.begin(), state.end(), q_.begin());
}

}  // namespace shoal::compress
