#include "shoal/collective/average_transfer.h"

#include <algorithm>
#include <map>
#include <shoal/proto/state.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/donor_watch.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {

namespace {

constexpr std::uint64_t kLargestStep = std::uint64_t{1} << 40U;

std::string service_of(const std::string& run) {
    return run + "/average";
}

/// What we send to others who take steps after us: requests are short, and keys are free.
class Rations {
  public:
    /// @param pieces  that the average consists of
    bool allow(Step from, const PeerId& taker, std::size_t pieces) {
        while (given_.size() > kKeptAverages && !given_.contains(from)) given_.erase(given_.begin());
        std::map<PeerId, std::size_t>& takers = given_[from];
        if (takers.size() >= kTakersOfOneAverage && !takers.contains(taker)) return false;
        return ++takers[taker] <= kTimesOfOnePeer * pieces;
    }

  private:
    std::map<Step, std::map<PeerId, std::size_t>> given_;  ///< pieces
};

awaitable<net::Message> answer(std::shared_ptr<const AverageHistory> history,
                               std::shared_ptr<Rations> rations, PeerId caller, net::Message message) {
    const auto request = net::parse_control<proto::AverageRequest>(message, caller);
    const auto from = static_cast<Step>(std::min(request.from_step(), kLargestStep));
    const KeptAveragePointer average = history->find(from);
    if (!average) throw Error(ErrorKind::refused, "does not keep the average of this step");
    const std::size_t size = average->encoded.size();
    const std::uint64_t offset = request.offset();
    const bool is_piece = offset == 0 || (offset < size && offset % kAveragePieceBytes == 0);
    if (!is_piece) throw Error(ErrorKind::protocol_violation, "asked for a piece that does not exist");
    const std::size_t pieces = std::max<std::size_t>(1, (size + kAveragePieceBytes - 1) / kAveragePieceBytes);
    if (!rations->allow(from, caller, pieces))
        throw Error(ErrorKind::refused, "has given the average of this step often enough");
    proto::AverageAnswer reply;
    reply.set_skipped(average->skipped);
    reply.set_half(average->half);
    const ByteView piece = ByteView(average->encoded).subspan(offset);
    const std::size_t bytes = std::min(kAveragePieceBytes, piece.size());
    Bytes payload(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(bytes));
    co_return net::Message(net::to_control(reply), std::move(payload));
}

}  // namespace

void serve_averages(net::Network& network, Clock& clock, const std::string& run,
                    std::shared_ptr<const AverageHistory> history) {
    const auto rations = std::make_shared<Rations>();
    net::serve_calls(network, clock, service_of(run),
                     [history, rations](PeerId caller, net::Message request) {
                         return answer(history, rations, caller, std::move(request));
                     });
}

void stop_serving_averages(net::Network& network, const std::string& run) {
    network.serve(service_of(run), {});
}

awaitable<KeptAverage> fetch_average(net::Network& network, Clock& clock, std::string run, PeerId donor,
                                     Step from, std::size_t elements, Duration patience) {
    const Duration of_piece =
        kPieceSlack + from_seconds(static_cast<double>(kAveragePieceBytes) / kSlowestLine);
    const TimePoint end = clock.now() + patience;
    KeptAverage average;
    average.from = from;
    std::size_t size = 0;
    bool first = true;
    while (first || average.encoded.size() < size) {
        proto::AverageRequest request;
        request.set_from_step(static_cast<std::uint64_t>(value(from)));
        request.set_offset(average.encoded.size());
        net::Message message(net::to_control(request));
        std::string service = service_of(run);
        const net::Message reply =
            co_await net::call(network, clock, donor, std::move(service), std::move(message),
                               std::min(end, clock.now() + of_piece));
        const auto said = net::parse_control<proto::AverageAnswer>(reply, donor);
        if (first) {
            average.skipped = said.skipped();
            average.half = said.half();
            size = average.skipped ? 0 : encoded_average_size(elements, average.half);
        }
        const std::size_t due = std::min(kAveragePieceBytes, size - average.encoded.size());
        const bool same = said.skipped() == average.skipped && said.half() == average.half;
        if (!same || reply.payload.size() != due)
            throw Error(ErrorKind::protocol_violation, "sent something else than an average of its step",
                        donor.short_name());
        average.encoded.insert(average.encoded.end(), reply.payload.begin(), reply.payload.end());
        first = false;
    }
    co_return average;
}

}  // namespace shoal::collective
