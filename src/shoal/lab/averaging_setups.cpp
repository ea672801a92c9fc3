#include "shoal/lab/averaging_setups.h"

#include "shoal/collective/work_split.h"
#include "shoal/compress/codec.h"
#include "shoal/lab/averaging_simulation.h"

namespace shoal::lab {
namespace {

constexpr double kFast = 20, kMiddle = 10, kSlow = 5, kHelper = 100;  // Mb/s
constexpr double kBytes = 1e6 / 8;                                    ///< of a megabit
/// Rounds until the measured rates have settled (kRise and kFall of line_meter.h).
constexpr int kMeasuringRounds = 8;

using collective::SplitMember;

std::vector<AveragingPeer> unequal_peers(const AveragingSize& size) {
    std::vector<AveragingPeer> peers;
    const auto add = [&peers](std::size_t count, double megabits) {
        AveragingPeer peer;
        peer.megabits = megabits;
        peer.claim = megabits * kBytes;
        peers.insert(peers.end(), count, peer);
    };
    add(size.fast, kFast);
    add(size.middle, kMiddle);
    add(size.slow, kSlow);
    return peers;
}

/// The lines as the analytic times see them.
std::vector<SplitMember> members_of(const std::vector<AveragingPeer>& peers) {
    std::vector<SplitMember> members;
    for (const AveragingPeer& peer : peers) {
        SplitMember member;
        member.sends = member.receives = !peer.auxiliary;
        member.reduces = peer.role() != collective::Role::client;
        member.upload = member.download = kDelivered * peer.megabits * kBytes;
        members.push_back(member);
    }
    return members;
}

class Rows {
  public:
    explicit Rows(const AveragingSize& size)
        : elements_(size.elements),
          bytes_(static_cast<double>(compress::make_codec("fp16")->encoded_size(size.elements))) {}

    /// @param split  of members_of(peers); empty: the best
    AveragingSetup& add(const std::string& name, const std::string& title, std::vector<AveragingPeer> peers,
                        std::vector<double> split = {}) {
        const std::vector<SplitMember> members = members_of(peers);
        if (split.empty()) split = collective::split_fractions(members);
        AveragingSetup setup;
        setup.name = name;
        setup.title = title;
        setup.analytic_seconds = bytes_ * collective::split_cost(split, members);
        setup.task.peers = std::move(peers);
        setup.task.elements = elements_;
        rows_.push_back(std::move(setup));
        return rows_.back();
    }
    std::vector<AveragingSetup> take() { return std::move(rows_); }

  private:
    std::size_t elements_;
    double bytes_;
    std::vector<AveragingSetup> rows_;
};

}  // namespace

std::vector<AveragingSetup> averaging_setups(const AveragingSize& size) {
    Rows rows(size);
    const std::vector<AveragingPeer> unequal = unequal_peers(size);
    std::vector<AveragingPeer> peers = unequal;
    for (AveragingPeer& peer : peers) peer.megabits = kFast;
    for (AveragingPeer& peer : peers) peer.claim = kFast * kBytes;
    rows.add("equal", "EQUAL", peers);

    // Who all claim the same get the same.
    peers = unequal;
    for (AveragingPeer& peer : peers) peer.claim = kSlow * kBytes;
    rows.add(kEqualSplit, "HETEROGENEOUS, equal split", peers, collective::equal_split(members_of(peers)));

    peers = unequal;
    const std::vector<double> server = collective::best_server_split(members_of(peers));
    for (std::size_t i = 0; i < peers.size(); ++i) peers[i].only_takes_part = server[i] == 0;
    rows.add("hetero-server", "HETEROGENEOUS, parameter server", peers);

    rows.add(kLoadBalanced, "HETEROGENEOUS, load balancing", unequal);

    peers = unequal;
    for (AveragingPeer& peer : peers) peer.claim = 0;
    rows.add("hetero-measured", "HETEROGENEOUS, lines measured", peers).warm_up = kMeasuringRounds;

    peers = unequal;
    AveragingPeer helper;
    helper.auxiliary = true;
    helper.megabits = kHelper;
    helper.claim = kHelper * kBytes;
    peers.insert(peers.end(), size.auxiliary, helper);
    rows.add("hetero-auxiliary", "... and auxiliary peers", peers);

    peers = unequal;
    for (AveragingPeer& peer : peers) peer.client_mode = peer.megabits == kMiddle;
    rows.add("hetero-clients", "... the middle peers in client mode", peers);
    return rows.take();
}

}  // namespace shoal::lab
