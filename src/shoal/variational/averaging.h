// Averages of vectors over devices, compressed on the way: what every method here sends.
#pragma once

#include "shoal/variational/compression.h"
#include "shoal/variational/exchange.h"

namespace shoal::variational {

/// What was sent, by all devices together and to all devices together, as if each device sent its message to
/// a server and received every answer: no byte is saved because an owner of a share is a device itself.
/// Counted from the encoded bytes.
struct Traffic {
    std::uint64_t bytes_up = 0, bytes_down = 0;
    std::uint64_t values_up = 0, values_down = 0;  ///< numbers in them, without indices, scales and seeds
    bool operator==(const Traffic&) const = default;
};

struct AveragingSettings {
    std::string device_codec = kExact, server_codec = kExact;
    /// Both sides keep what compression has left out and add it to what they send next.
    bool error_feedback = false;
    std::uint64_t seed = 0;
};

/// One stream of averages. Every process makes the same ones with the same settings.
class Averaging {
  public:
    /// The exchange and the traffic outlive it. Throws Error(invalid_argument) for an unknown codec.
    Averaging(Exchange& exchange, std::size_t dimension, AveragingSettings settings, Traffic& traffic);
    Averaging(const Averaging&) = delete;
    Averaging& operator=(const Averaging&) = delete;

    /// mean = Qserver[(1 / |senders|) sum_m Qdevice_m(values_m)]; with error feedback inside both.
    /// @param values   by local device. Those of devices that are no senders are not looked at.
    /// @param senders  ascending, not empty
    /// All three must outlive the call. Throws what Exchange::exchange() throws.
    awaitable<void> average(const std::vector<std::size_t>& senders, const std::vector<Vector>& values,
                            Vector& mean);

    /// Of what a device sends, and of the answers.
    Quality device_quality() const { return devices_.front().quality(); }
    Quality server_quality() const { return server_.quality(); }

  private:
    Message encode(std::size_t position, const Vector& values);
    Bytes answer(const std::vector<std::size_t>& senders, std::size_t share,
                 const std::vector<ByteView>& parts);
    void count(const std::vector<std::size_t>& senders);

    Exchange& exchange_;
    const AveragingSettings settings_;
    Traffic& traffic_;
    const std::vector<Share> shares_;
    std::vector<Compression> devices_;  // by device
    Compression server_;
    std::vector<Vector> left_out_;  // by local device, with error feedback
    Vector left_out_by_server_;     // of the shares that are owned here
    std::uint64_t calls_ = 0;
};

}  // namespace shoal::variational
