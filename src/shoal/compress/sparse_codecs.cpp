#include "shoal/compress/sparse_codecs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "shoal/base/error.h"
#include "shoal/compress/index_set.h"
#include "shoal/compress/not_finite.h"
#include "shoal/compress/quantile_kernels.h"
#include "shoal/compress/selection_kernels.h"

namespace shoal::compress {

namespace {

/// Positions are found in pieces that stay in the cache, with the values they belong to.
constexpr std::size_t kPiece = 4096;
using Positions = std::array<std::uint32_t, kPiece + kPositionSlack>;

void check_count(std::string_view codec, std::size_t count) {
    if (count < kMaximumPositions) return;
    throw Error(ErrorKind::invalid_argument,
                std::string(codec) + ": a vector of 2^32 values or more; cut it into several");
}

std::size_t share_of(std::size_t count, double share) {
    const auto kept = static_cast<std::size_t>(static_cast<double>(count) * share + 0.5);
    return count == 0 ? 0 : std::clamp<std::size_t>(kept, 1, count);
}

/// The codec of the kept values. Plain floats need no buffer between.
class KeptValues {
  public:
    explicit KeptValues(std::unique_ptr<const Codec> codec)
        : codec_(codec && codec->name() != "fp32" ? std::move(codec) : nullptr) {}

    std::size_t bytes(std::size_t count) const {
        return codec_ ? codec_->encoded_size(count) : count * sizeof(float);
    }
    Guarantee guarantee(std::size_t count) const {
        return codec_ ? codec_->guarantee(count) : Guarantee{.variance_factor = 1, .contraction = 1};
    }

    /// `fill(destination)` calls destination(j, value) for all j < count, in order.
    template <typename Fill>
    void encode(std::size_t count, std::uint8_t* encoded, std::uint64_t seed, Fill fill) const {
        if (!codec_) {
            fill([encoded](std::size_t j, float value) {
                std::memcpy(encoded + j * sizeof(float), &value, sizeof(float));
            });
            return;
        }
        const auto kept = std::make_unique_for_overwrite<float[]>(count);
        fill([&kept](std::size_t j, float value) { kept[j] = value; });
        codec_->encode({kept.get(), count}, {encoded, bytes(count)}, seed);
    }

    /// `use(source)` may call source(j) for all j < count.
    template <typename Use>
    void decode(const std::uint8_t* encoded, std::size_t count, Use use) const {
        if (!codec_) {
            use([encoded](std::size_t j) {
                float value;
                std::memcpy(&value, encoded + j * sizeof(float), sizeof(float));
                return value;
            });
            return;
        }
        const auto kept = std::make_unique_for_overwrite<float[]>(count);
        codec_->decode({encoded, bytes(count)}, {kept.get(), count});
        use([&kept](std::size_t j) { return kept[j]; });
    }

  private:
    std::unique_ptr<const Codec> codec_;  // null: fp32
};

/// Encoded: the seed (8 bytes), then the kept values. Which ones are kept is drawn from the seed: positions
/// whose lots lie between two ranks. (A position is a card of sparse_codecs.h; in rand_k, a value.)
class RandomSparseCodec : public Codec {
  public:
    RandomSparseCodec(std::string name, std::unique_ptr<const Codec> values)
        : name_(std::move(name)), values_(std::move(values)) {}

    std::string_view name() const override { return name_; }
    std::size_t encoded_size(std::size_t count) const override {
        check_count(name_, count);
        return count == 0 ? 0 : sizeof(std::uint64_t) + values_.bytes(draw(count).kept);
    }
    std::size_t sent_values(std::size_t count) const override { return count == 0 ? 0 : draw(count).kept; }
    std::size_t granularity() const override { return kUncuttable; }

  protected:
    struct Draw {
        std::size_t cards;        ///< there are
        std::size_t begin, kept;  ///< ranks of those that are kept
        double factor;            ///< of what they hold
        std::size_t copies = 1;   ///< cards of each value; the rest of the cards are blank
    };
    virtual Draw draw(std::size_t count) const = 0;

    Guarantee do_guarantee(std::size_t count) const override {
        const Draw drawn = draw(count);
        Guarantee result;
        if (const auto inner = values_.guarantee(drawn.kept).variance_factor)
            result.variance_factor = drawn.factor * *inner;
        return result;
    }

    void do_encode(std::span<const float> values, std::uint8_t* encoded, std::uint64_t seed) const override {
        std::memcpy(encoded, &seed, sizeof(seed));
        const Draw drawn = draw(values.size());
        const auto factor = static_cast<float>(drawn.factor);
        // A value that is not kept must not hide.
        const bool spoilt = has_not_finite(values);
        values_.encode(drawn.kept, encoded + sizeof(seed), derived_seed(seed), [&](auto&& destination) {
            constexpr float kLargest = std::numeric_limits<float>::max();
            for_each_kept(drawn, values.size(), seed, [&](std::size_t j, std::size_t place) {
                const float value = place < values.size() ? values[place] * factor : 0.0F;
                destination(j, spoilt ? not_finite_mark() : std::clamp(value, -kLargest, kLargest));
            });
        });
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        std::fill(values.begin(), values.end(), 0.0F);
        for_each_decoded(encoded, values.size(),
                         [&](std::size_t place, float value) { values[place] = value; });
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        for_each_decoded(encoded, sum.size(),
                         [&](std::size_t place, float value) { sum[place] += scale * value; });
    }

  private:
    /// f(j, place) for the j-th kept card, whose value has that place in the vector; a blank's place is at or
    /// behind its end.
    template <typename Function>
    static void for_each_kept(const Draw& drawn, std::size_t count, std::uint64_t seed, Function f) {
        const CounterKeys keys = counter_keys(seed);
        KeptKeys kept{.lowest = std::numeric_limits<std::int32_t>::min(), .border = 0, .ties = 1};
        if (drawn.begin > 0) kept.lowest = find_lot_rank(keys, drawn.cards, drawn.begin).key;
        kept.border = find_lot_rank(keys, drawn.cards, drawn.begin + drawn.kept - 1).key;
        Positions positions;
        for (std::size_t begin = 0, j = 0; begin < drawn.cards && j < drawn.kept; begin += kPiece) {
            const std::size_t cards = std::min(kPiece, drawn.cards - begin);
            const std::size_t found = keep_lots(keys, begin, cards, kept, positions.data());
            for (std::size_t i = 0; i < found; ++i, ++j) {
                const std::size_t card = positions[i];
                f(j, drawn.copies > 1 && card < drawn.copies * count ? card % count : card);
            }
        }
    }

    template <typename Function>
    void for_each_decoded(const std::uint8_t* encoded, std::size_t count, Function f) const {
        const Draw drawn = draw(count);
        std::uint64_t seed;
        std::memcpy(&seed, encoded, sizeof(seed));
        values_.decode(encoded + sizeof(seed), drawn.kept, [&](auto&& source) {
            for_each_kept(drawn, count, seed, [&](std::size_t j, std::size_t place) {
                if (place < count) f(place, source(j));
            });
        });
    }

    std::string name_;
    KeptValues values_;
};

class RandKCodec final : public RandomSparseCodec {
  public:
    RandKCodec(std::string name, double share, std::unique_ptr<const Codec> values)
        : RandomSparseCodec(std::move(name), std::move(values)), share_(share) {}

  protected:
    Draw draw(std::size_t count) const override {
        const std::size_t kept = share_of(count, share_);
        return {.cards = count,
                .begin = 0,
                .kept = kept,
                .factor = static_cast<double>(count) / static_cast<double>(kept)};
    }

  private:
    double share_;
};

class PermKCodec final : public RandomSparseCodec {
  public:
    PermKCodec(std::string name, std::size_t device, std::size_t devices, std::unique_ptr<const Codec> values)
        : RandomSparseCodec(std::move(name), std::move(values)), device_(device), devices_(devices) {}

  protected:
    Draw draw(std::size_t count) const override {
        const std::size_t copies = std::max<std::size_t>(1, devices_ / count);
        const std::size_t part = (copies * count + devices_ - 1) / devices_;
        return {.cards = part * devices_,
                .begin = device_ * part,
                .kept = part,
                .factor = static_cast<double>(devices_) / static_cast<double>(copies),
                .copies = copies};
    }

  private:
    std::size_t device_, devices_;
};

/// Encoded: the places of the kept values (index_set.h), then the values.
class TopKCodec final : public Codec {
  public:
    TopKCodec(std::string name, double share, std::unique_ptr<const Codec> values)
        : name_(std::move(name)), share_(share), values_(std::move(values)) {}

    std::string_view name() const override { return name_; }
    std::size_t encoded_size(std::size_t count) const override {
        check_count(name_, count);
        if (count == 0) return 0;
        const std::size_t kept = share_of(count, share_);
        return IndexLayout(count, kept).bytes() + values_.bytes(kept);
    }
    std::size_t sent_values(std::size_t count) const override { return share_of(count, share_); }
    std::size_t granularity() const override { return kUncuttable; }

  protected:
    Guarantee do_guarantee(std::size_t count) const override {
        const std::size_t kept = share_of(count, share_);
        Guarantee result;
        if (const auto inner = values_.guarantee(kept).contraction)
            result.contraction = static_cast<double>(count) / static_cast<double>(kept) * *inner;
        return result;
    }

    void do_encode(std::span<const float> values, std::uint8_t* encoded, std::uint64_t seed) const override {
        const std::size_t kept = share_of(values.size(), share_);
        const IndexLayout layout(values.size(), kept);
        IndexWriter indices(layout, encoded);
        const RankedKey last = find_magnitude_rank(values.data(), values.size(), kept - 1);
        KeptKeys keys{.lowest = 0, .border = last.key, .ties = kept - last.smaller};
        values_.encode(kept, encoded + layout.bytes(), seed, [&](auto&& destination) {
            Positions positions;
            for (std::size_t begin = 0, j = 0; begin < values.size() && j < kept; begin += kPiece) {
                const std::size_t count = std::min(kPiece, values.size() - begin);
                const std::size_t found =
                    keep_magnitudes(values.data(), begin, count, keys, positions.data());
                indices.add(std::span(positions).first(found));
                for (std::size_t i = 0; i < found; ++i) destination(j++, values[positions[i]]);
            }
        });
    }
    void do_decode(const std::uint8_t* encoded, std::span<float> values) const override {
        std::fill(values.begin(), values.end(), 0.0F);
        for_each_decoded(encoded, values.size(),
                         [&](std::size_t place, float value) { values[place] = value; });
    }
    void do_decode_scaled_add(const std::uint8_t* encoded, float scale, std::span<float> sum) const override {
        for_each_decoded(encoded, sum.size(),
                         [&](std::size_t place, float value) { sum[place] += scale * value; });
    }

  private:
    template <typename Function>
    void for_each_decoded(const std::uint8_t* encoded, std::size_t count, Function f) const {
        const std::size_t kept = share_of(count, share_);
        const IndexLayout layout(count, kept);
        const auto places = std::make_unique_for_overwrite<std::uint32_t[]>(kept);
        if (!read_indices(layout, encoded, places.get()))
            throw Error(ErrorKind::protocol_violation,
                        name_ + ": the places of the values are no set of " + std::to_string(kept) +
                            " below " + std::to_string(count) + "; a correct peer never sends that");
        values_.decode(encoded + layout.bytes(), kept, [&](auto&& source) {
            for (std::size_t j = 0; j < kept; ++j) f(places[j], source(j));
        });
    }

    std::string name_;
    double share_;
    KeptValues values_;
};

}  // namespace

std::unique_ptr<const Codec> make_rand_k(std::string name, double share,
                                         std::unique_ptr<const Codec> values) {
    return std::make_unique<RandKCodec>(std::move(name), share, std::move(values));
}

std::unique_ptr<const Codec> make_top_k(std::string name, double share, std::unique_ptr<const Codec> values) {
    return std::make_unique<TopKCodec>(std::move(name), share, std::move(values));
}

std::unique_ptr<const Codec> make_perm_k(std::string name, std::size_t device, std::size_t devices,
                                         std::unique_ptr<const Codec> values) {
    return std::make_unique<PermKCodec>(std::move(name), device, devices, std::move(values));
}

}  // namespace shoal::compress
