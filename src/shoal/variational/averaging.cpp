#include "shoal/variational/averaging.h"

#include <algorithm>

#include "shoal/base/error.h"
#include "shoal/variational/shared_randomness.h"

namespace shoal::variational {
namespace {

std::vector<Compression> compressions(const Exchange& exchange, const std::string& codec,
                                      const std::vector<Share>& shares) {
    std::vector<Compression> all;
    for (std::size_t device = 0; device < exchange.devices(); ++device)
        all.emplace_back(codec, device, exchange.devices(), shares);
    return all;
}

std::span<double> part(Vector& values, const Share& share) {
    return std::span<double>(values).subspan(share.begin, share.size());
}

}  // namespace

Averaging::Averaging(Exchange& exchange, std::size_t dimension, AveragingSettings settings, Traffic& traffic)
    : exchange_(exchange),
      settings_(std::move(settings)),
      traffic_(traffic),
      shares_(equal_shares(dimension, exchange.owners())),
      devices_(compressions(exchange, settings_.device_codec, shares_)),
      server_(settings_.server_codec, 0, 1, shares_) {
    if (!settings_.error_feedback) return;
    left_out_.assign(exchange.local_devices().size(), Vector(dimension, 0.0));
    left_out_by_server_.assign(dimension, 0.0);
}

awaitable<void> Averaging::average(const std::vector<std::size_t>& senders, const std::vector<Vector>& values,
                                   Vector& mean) {
    std::vector<Message> messages;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const bool speaks = std::binary_search(senders.begin(), senders.end(), exchange_.local_devices()[i]);
        messages.push_back(speaks ? encode(i, values[i]) : Message());
    }
    Round round;
    round.senders = senders;
    round.part_size = [this](std::size_t device, std::size_t share) {
        return devices_[device].encoded_size(share);
    };
    round.answer_size = [this](std::size_t share) { return server_.encoded_size(share); };
    round.answer = [this, &senders](std::size_t share, const std::vector<ByteView>& parts) {
        return answer(senders, share, parts);
    };
    const std::vector<Bytes> answers = co_await exchange_.exchange(round, messages);
    for (std::size_t share = 0; share < shares_.size(); ++share) {
        try {
            server_.decode(share, answers[share], part(mean, shares_[share]));
        } catch (const Error& error) {
            throw Error(error.kind(), "the average from the owner of share " + std::to_string(share) +
                                          " is unusable: " + error.what());
        }
    }
    count(senders);
    ++calls_;
}

Message Averaging::encode(std::size_t position, const Vector& values) {
    const std::size_t device = exchange_.local_devices()[position];
    const Compression& compression = devices_[device];
    const std::uint64_t sender = compression.shares_seed() ? 0 : device;
    Message message;
    Vector wanted(values);
    if (settings_.error_feedback) add_scaled(1, left_out_[position], wanted);
    for (std::size_t share = 0; share < shares_.size(); ++share) {
        const std::uint64_t seed =
            derived_seed(settings_.seed, Purpose::device_codec, {calls_, share, sender});
        message.push_back(compression.encode(share, part(wanted, shares_[share]), seed));
        if (!settings_.error_feedback) continue;
        const std::span<double> rest = part(left_out_[position], shares_[share]);
        compression.decode(share, message.back(), rest);
        combine(1, part(wanted, shares_[share]), -1, rest, rest);
    }
    return message;
}

Bytes Averaging::answer(const std::vector<std::size_t>& senders, std::size_t share,
                        const std::vector<ByteView>& parts) {
    const std::size_t size = shares_[share].size();
    Vector sum(size, 0.0), values(size);
    for (std::size_t i = 0; i < senders.size(); ++i) {
        try {
            devices_[senders[i]].decode(share, parts[i], values);
        } catch (const Error& error) {
            throw Error(error.kind(),
                        exchange_.name_of(senders[i]) + " sent an unusable message: " + error.what());
        }
        add_scaled(1, values, sum);
    }
    for (double& value : sum) value /= static_cast<double>(senders.size());
    const std::uint64_t seed = derived_seed(settings_.seed, Purpose::server_codec, {calls_, share});
    if (!settings_.error_feedback) return server_.encode(share, sum, seed);
    const std::span<double> rest = part(left_out_by_server_, shares_[share]);
    add_scaled(1, rest, sum);
    Bytes encoded = server_.encode(share, sum, seed);
    server_.decode(share, encoded, rest);
    combine(1, sum, -1, rest, rest);
    return encoded;
}

void Averaging::count(const std::vector<std::size_t>& senders) {
    for (std::size_t share = 0; share < shares_.size(); ++share) {
        for (const std::size_t sender : senders) {
            traffic_.bytes_up += devices_[sender].encoded_size(share);
            traffic_.values_up += devices_[sender].sent_values(share);
        }
        traffic_.bytes_down += exchange_.devices() * server_.encoded_size(share);
        traffic_.values_down += exchange_.devices() * server_.sent_values(share);
    }
}

}  // namespace shoal::variational
