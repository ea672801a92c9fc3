#include "shoal/collective/round_plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/lineage.h"
#include "shoal/collective/round_messages.h"
#include "shoal/collective/work_split.h"

namespace shoal::collective {
namespace {

/// Parts of a vector below this are not worth a stream of their own.
constexpr std::size_t kMinimumShare = 4096;
constexpr std::size_t kMaximumChunks = 1u << 20;
/// What a chunk takes of the slowest line at least, and of the round at most: the former keeps their number
/// small where processors limit a round.
constexpr double kChunkSeconds = 0.01, kChunksOfRound = 100;
constexpr std::string_view kJoinPurpose = "shoal join", kBeginPurpose = "shoal begin";

ByteView view(const std::string& text) {
    return as_bytes(std::string_view(text));
}

std::string purpose_and(const std::string& offer) {
    return std::string(kJoinPurpose) + offer;
}

void check_signature(const proto::SignedJoin& join, const PeerId& peer) {
    PublicKey key;
    Signature signature;
    if (join.public_key().size() != key.size() || join.signature().size() != signature.size())
        throw Error(ErrorKind::protocol_violation, "sent a join without a signature", peer.short_name());
    std::memcpy(key.data(), join.public_key().data(), key.size());
    std::memcpy(signature.data(), join.signature().data(), signature.size());
    const std::string message = purpose_and(join.offer());
    if (PeerId::of(key) != peer || !verify(key, view(message), signature))
        throw Error(ErrorKind::corrupted, "its join has a wrong signature", peer.short_name());
}

bool plausible_bandwidth(double bandwidth) {
    return bandwidth == 0 || (bandwidth >= kMinimumBandwidth && bandwidth <= kMaximumBandwidth);
}

bool plausible_offer(const proto::JoinOffer& offer, const JoinLimits& limits) {
    if (offer.run() != limits.run || offer.role() > 2 || offer.attempt() > kHighestAttempt ||
        offer.step() < 0)
        return false;
    if (!std::isfinite(offer.weight()) || offer.weight() < 0 || offer.weight() > limits.maximum_weight)
        return false;
    if (!plausible_bandwidth(offer.upload()) || !plausible_bandwidth(offer.download())) return false;
    const bool auxiliary = static_cast<Role>(offer.role()) == Role::auxiliary;
    if (offer.state_counts() && offer.state_elements() == 0) return false;
    if (auxiliary)
        return offer.elements() == 0 && offer.weight() == 0 && offer.pieces().empty() &&
               offer.state_elements() == 0;
    if (offer.elements() == 0 || offer.elements() > limits.maximum_elements) return false;
    if (offer.state_elements() >= offer.elements()) return false;
    const std::span<const std::uint32_t> pieces(offer.pieces().data(),
                                                static_cast<std::size_t>(offer.pieces_size()));
    return pieces.empty() || compress::pieces_cover(pieces, static_cast<std::size_t>(offer.elements()));
}

bool plausible_objections(const proto::JoinOffer& offer) {
    const auto& all = offer.objections();
    if (static_cast<std::size_t>(all.size()) > kMaximumObjections) return false;
    return std::all_of(all.begin(), all.end(), [](const proto::Objection& o) {
        return o.upload() != 0 && o.download() != 0 && plausible_bandwidth(o.upload()) &&
               plausible_bandwidth(o.download());
    });
}

/// Only members of a round name it, and nobody twice.
bool plausible_lineage(const PeerId& peer, const proto::JoinOffer& offer) {
    const auto& members = offer.last_members();
    if (members.empty()) return offer.last_round().empty();
    if (offer.last_round().size() != RoundId().size() || members.size() > kMaximumLastMembers) return false;
    if (static_cast<Role>(offer.role()) == Role::auxiliary || offer.newcomer()) return false;
    return std::adjacent_find(members.begin(), members.end(), std::greater_equal<>()) == members.end() &&
           std::binary_search(members.begin(), members.end(), member_number(peer));
}

/// Every state counts as much as any other: it is no better for the samples that its peer has computed since.
std::vector<float> make_state_scales(std::span<const Join> members) {
    const auto has_state = [](const Join& member) { return member.state_elements > 0; };
    const auto counts = [](const Join& member) { return member.state_counts; };
    const auto all = std::count_if(members.begin(), members.end(), has_state);
    const auto current = std::count_if(members.begin(), members.end(), counts);
    std::vector<float> scales;
    for (const Join& member : members) {
        const bool is_one = current > 0 ? counts(member) : has_state(member);
        scales.push_back(is_one ? static_cast<float>(1.0 / static_cast<double>(current > 0 ? current : all))
                                : 0.0F);
    }
    return scales;
}

/// What each member may be reckoned with.
std::vector<SplitMember> make_lines(std::span<const Join> members) {
    const std::vector<float> state_scales = make_state_scales(members);
    std::vector<SplitMember> split;
    std::vector<std::uint64_t> numbers;
    std::vector<std::vector<Objection>> objections;
    for (const Join& member : members) {
        SplitMember s;
        s.receives = member.role != Role::auxiliary;
        s.sends = s.receives && (member.weight > 0 || state_scales[split.size()] > 0);
        s.reduces = member.role != Role::client;
        s.upload = member.upload;
        s.download = member.download;
        split.push_back(s);
        numbers.push_back(member_number(member.peer));
        objections.push_back(member.objections);
    }
    return allowed_lines(split, numbers, objections);
}

/// Shares end at cuts of the codec, so that values do not depend on who owns what.
std::vector<Share> make_shares(const RoundPlan& plan, std::size_t granularity) {
    const std::size_t blocks = (plan.elements + granularity - 1) / granularity;
    const std::size_t minimum = (kMinimumShare + granularity - 1) / granularity;
    const std::vector<std::size_t> parts = split_work(blocks, plan.lines, minimum);
    std::vector<Share> shares;
    std::size_t begin = 0, place = 0;
    for (const std::size_t part : parts) {
        place += part * granularity;
        const std::size_t end = plan.codec->cut_before(place);
        shares.push_back({begin, end});
        begin = end;
    }
    return shares;
}

bool claims_any_line(std::span<const Join> members) {
    return std::any_of(members.begin(), members.end(),
                       [](const Join& m) { return m.upload > 0 || m.download > 0; });
}

/// Of the shares as they are, seconds.
double promised_seconds(const RoundPlan& plan) {
    if (!claims_any_line(plan.members)) return 0;
    std::vector<double> fractions;
    for (const Share& share : plan.shares)
        fractions.push_back(static_cast<double>(share.size()) / static_cast<double>(plan.elements));
    return plan.bytes * split_cost(fractions, plan.lines);
}

std::vector<float> make_scales(const std::vector<Join>& members) {
    double sum = 0;
    for (const Join& member : members) sum += member.weight;
    std::vector<float> scales;
    for (const Join& member : members) scales.push_back(static_cast<float>(member.weight / sum));
    return scales;
}

[[noreturn]] void refuse(const PeerId& from, const std::string& what) {
    throw Error(ErrorKind::protocol_violation, "began a round that cannot be: " + what, from.short_name());
}

void check_members(const RoundPlan& plan, const PeerId& from, const Join& own,
                   const compress::Pieces& pieces) {
    bool reduces = false;
    double weight = 0;
    for (std::size_t i = 0; i < plan.members.size(); ++i) {
        const Join& member = plan.members[i];
        if (i > 0 && !(plan.members[i - 1].peer < member.peer)) refuse(from, "its members are not in order");
        if (member.step != own.step || member.attempt != own.attempt)
            refuse(from, "a member is at another step");
        if (member.codec != own.codec) refuse(from, "a member uses another codec");
        if (plan.contributes(i) && member.elements != plan.elements) refuse(from, "vectors differ in length");
        if (plan.contributes(i) && member.state_elements != plan.elements - plan.state_begin)
            refuse(from, "states differ in length");
        if (plan.contributes(i) && member.pieces != pieces) refuse(from, "tensors differ in size");
        reduces = reduces || member.role != Role::client;
        weight += member.weight;
    }
    if (!reduces) refuse(from, "nobody can reduce");
    if (!(weight > 0)) refuse(from, "nobody contributes a sample");
    if (!may_go_on(plan.members)) refuse(from, "too few members of the last round take part");
    if (plan.members[plan.leader].role == Role::client) refuse(from, "a client leads");
    if (plan.members[plan.self].signed_bytes != own.signed_bytes)
        refuse(from, "this peer's offer was changed");
}

Bytes begin_to_sign(const proto::Begin& begin) {
    proto::Begin content = begin;
    content.clear_signature();
    const std::string text = std::string(kBeginPurpose) + content.SerializeAsString();
    return Bytes(text.begin(), text.end());
}

/// The leader's key is the one that its own join was signed with.
void check_leader_signature(const proto::Begin& begin, const proto::SignedJoin& leader) {
    PublicKey key;
    Signature signature;
    const PeerId from = PeerId::from_bytes(view(begin.leader()));
    if (leader.public_key().size() != key.size() || begin.signature().size() != signature.size())
        refuse(from, "it has no signature");
    std::memcpy(key.data(), leader.public_key().data(), key.size());
    std::memcpy(signature.data(), begin.signature().data(), signature.size());
    if (!verify(key, begin_to_sign(begin), signature))
        throw Error(ErrorKind::corrupted, "the begin of its round has a wrong signature", from.short_name());
}

}  // namespace

JoinLimits::JoinLimits(const AveragerSettings& settings)
    : run(settings.run),
      maximum_elements(settings.maximum_elements),
      maximum_weight(settings.maximum_weight),
      plausible_weight(settings.plausible_weight),
      must_be_signed(settings.signer != nullptr) {}

std::string sign_join(const Join& join, const std::string& run, const Signer* signer) {
    proto::JoinOffer offer;
    offer.set_run(run);
    offer.set_step(value(join.step));
    offer.set_attempt(join.attempt);
    offer.set_role(static_cast<std::uint32_t>(join.role));
    offer.set_weight(join.weight);
    offer.set_upload(join.upload);
    offer.set_download(join.download);
    offer.set_elements(join.elements);
    offer.set_state_elements(join.state_elements);
    offer.set_state_counts(join.state_counts);
    offer.set_codec(join.codec);
    for (const std::uint32_t piece : join.pieces) offer.add_pieces(piece);
    offer.set_nonce(join.nonce);
    if (!join.last_members.empty()) offer.set_last_round(join.last_round.data(), join.last_round.size());
    for (const std::uint64_t member : join.last_members) offer.add_last_members(member);
    offer.set_newcomer(join.newcomer);
    for (const Objection& objection : join.objections) {
        proto::Objection& out = *offer.add_objections();
        out.set_member(objection.member);
        out.set_upload(objection.upload);
        out.set_download(objection.download);
    }
    proto::SignedJoin out;
    out.set_peer(std::string(as_text(join.peer.bytes())));
    out.set_offer(offer.SerializeAsString());
    if (signer != nullptr) {
        const std::string message = purpose_and(out.offer());
        const Signature signature = signer->sign(view(message));
        const PublicKey key = signer->public_key();
        out.set_public_key(key.data(), key.size());
        out.set_signature(signature.data(), signature.size());
    }
    return out.SerializeAsString();
}

namespace {

/// All of a join but its signature.
Join read_join(const std::string& signed_join, const JoinLimits& limits) {
    if (signed_join.size() > kMaximumJoinBytes)
        throw Error(ErrorKind::protocol_violation, "a join is longer than any can be");
    proto::SignedJoin in;
    if (!in.ParseFromString(signed_join)) throw Error(ErrorKind::protocol_violation, "a join cannot be read");
    Join join;
    join.peer = PeerId::from_bytes(view(in.peer()));
    proto::JoinOffer offer;
    if (!offer.ParseFromString(in.offer()) || !plausible_offer(offer, limits) ||
        !plausible_objections(offer) || !plausible_lineage(join.peer, offer))
        throw Error(ErrorKind::protocol_violation, "sent a join that cannot be", join.peer.short_name());
    join.step = static_cast<Step>(offer.step());
    join.attempt = offer.attempt();
    join.role = static_cast<Role>(offer.role());
    join.weight = offer.weight();
    join.upload = offer.upload();
    join.download = offer.download();
    join.elements = static_cast<std::size_t>(offer.elements());
    join.state_elements = static_cast<std::size_t>(offer.state_elements());
    join.state_counts = offer.state_counts();
    join.codec = offer.codec();
    join.pieces.assign(offer.pieces().begin(), offer.pieces().end());
    join.nonce = offer.nonce();
    if (!offer.last_round().empty()) join.last_round = to_round_id(offer.last_round());
    join.last_members.assign(offer.last_members().begin(), offer.last_members().end());
    join.newcomer = offer.newcomer();
    for (const proto::Objection& objection : offer.objections())
        join.objections.push_back({objection.member(), objection.upload(), objection.download()});
    join.signed_bytes = signed_join;
    if (limits.plausible_weight && join.weight > limits.plausible_weight(join.peer, join.step))
        throw Error(ErrorKind::protocol_violation, "its join claims more samples than it has reported",
                    join.peer.short_name());
    return join;
}

}  // namespace

void prove_join(const Join& join, const JoinLimits& limits) {
    if (!limits.must_be_signed) return;
    proto::SignedJoin in;
    if (!in.ParseFromString(join.signed_bytes))
        throw Error(ErrorKind::protocol_violation, "a join cannot be read", join.peer.short_name());
    check_signature(in, join.peer);
}

Join check_join(const std::string& signed_join, const JoinLimits& limits) {
    Join join = read_join(signed_join, limits);
    prove_join(join, limits);
    return join;
}

Digest leader_rank(const PeerId& peer, Step step, unsigned attempt) {
    Bytes bytes(peer.bytes().begin(), peer.bytes().end());
    const auto append = [&bytes](std::uint64_t number) {
        for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::uint8_t>(number >> (8 * i)));
    };
    append(static_cast<std::uint64_t>(value(step)));
    append(attempt);
    return sha256(bytes);
}

Share RoundPlan::chunk(std::size_t owner, std::size_t index) const {
    const Share& share = shares[owner];
    const auto place = [&](std::size_t chunk) {
        const std::size_t exact = share.begin + chunk * chunk_elements;
        return exact >= share.end ? share.end : codec->cut_before(exact);
    };
    return {place(index), place(index + 1)};
}

std::optional<std::size_t> RoundPlan::index_of(const PeerId& peer) const {
    const auto at =
        std::lower_bound(members.begin(), members.end(), peer,
                         [](const Join& join, const PeerId& wanted) { return join.peer < wanted; });
    if (at == members.end() || at->peer != peer) return std::nullopt;
    return static_cast<std::size_t>(at - members.begin());
}

std::size_t usable_chunk(std::size_t wanted, const compress::VectorFormat& format) {
    const std::size_t granularity = format.granularity();
    std::size_t elements = std::max(granularity, wanted / granularity * granularity);
    while (elements > granularity && format.maximum_encoded_size(elements) > net::kMaximumPayloadBytes)
        elements = std::max(granularity, elements / 2 / granularity * granularity);
    return elements;
}

std::size_t fitting_chunk(std::span<const Join> joins, std::size_t usual,
                          const compress::VectorFormat& format) {
    std::size_t elements = 0;
    for (const Join& join : joins) elements = std::max(elements, join.elements);
    const bool anybody_reduces =
        std::any_of(joins.begin(), joins.end(), [](const Join& j) { return j.role != Role::client; });
    if (joins.size() < 2 || elements == 0 || !anybody_reduces) return usable_chunk(usual, format);
    const std::vector<SplitMember> lines = make_lines(joins);
    const std::vector<double> fractions = split_fractions(lines);
    // Lines that nobody knows yet may be slow.
    double pieces = kChunksOfRound;
    if (claims_any_line(joins))
        pieces = static_cast<double>(format.maximum_encoded_size(elements)) * split_cost(fractions, lines) /
                 kChunkSeconds;
    const auto owners = static_cast<double>(
        std::count_if(fractions.begin(), fractions.end(), [](double f) { return f > 0; }));
    const double chunks = owners * std::clamp(pieces, 1.0, kChunksOfRound);
    const auto wanted = static_cast<std::size_t>(static_cast<double>(elements) / chunks);
    return usable_chunk(std::min(usual, std::max(wanted, kSmallestChunk)), format);
}

std::string make_begin(const PeerId& leader, std::uint64_t nonce, std::vector<Join> joins,
                       std::size_t chunk_elements, const Signer* signer) {
    std::sort(joins.begin(), joins.end(), [](const Join& a, const Join& b) { return a.peer < b.peer; });
    proto::Begin begin;
    begin.set_leader(std::string(as_text(leader.bytes())));
    begin.set_nonce(nonce);
    for (const Join& join : joins) begin.add_members()->ParseFromString(join.signed_bytes);
    begin.set_chunk_elements(static_cast<std::uint32_t>(chunk_elements));
    if (signer != nullptr) {
        const Signature signature = signer->sign(begin_to_sign(begin));
        begin.set_signature(signature.data(), signature.size());
    }
    return begin.SerializeAsString();
}

RoundPlan read_begin(const std::string& bytes, const Join& own, const JoinLimits& limits,
                     const compress::VectorFormat& format, std::size_t maximum_group, Signatures signatures) {
    proto::Begin begin;
    if (!begin.ParseFromString(bytes))
        throw Error(ErrorKind::protocol_violation, "the begin of a round cannot be read");
    const PeerId from = PeerId::from_bytes(view(begin.leader()));
    if (begin.members_size() == 0 || static_cast<std::size_t>(begin.members_size()) > maximum_group)
        refuse(from, "too many members");
    RoundPlan plan;
    compress::Pieces pieces;
    std::size_t state_elements = 0;
    for (const proto::SignedJoin& member : begin.members()) {
        const std::string signed_bytes = member.SerializeAsString();
        // Our own join needs no check; it is compared below.
        const bool is_own = signed_bytes == own.signed_bytes;
        plan.members.push_back(is_own ? own : read_join(signed_bytes, limits));
        if (!is_own && signatures == Signatures::all) prove_join(plan.members.back(), limits);
        plan.proven.push_back(is_own || signatures != Signatures::later || plan.members.back().peer == from);
        plan.elements = std::max(plan.elements, plan.members.back().elements);
        if (pieces.empty()) pieces = plan.members.back().pieces;
        state_elements = std::max(state_elements, plan.members.back().state_elements);
    }
    if (state_elements > plan.elements) refuse(from, "states differ in length");
    plan.state_begin = plan.elements - state_elements;
    const std::optional<std::size_t> leader = plan.index_of(from), self = plan.index_of(own.peer);
    if (!leader) refuse(from, "it is no member itself");
    if (!self) refuse(from, "this peer is no member");
    if (limits.must_be_signed && signatures == Signatures::all)
        check_leader_signature(begin, begin.members(static_cast<int>(*leader)));
    plan.begin_message = bytes;
    plan.leader = *leader;
    plan.self = *self;
    plan.step = own.step;
    plan.attempt = own.attempt;
    check_members(plan, from, own, pieces);
    if (!format.fits(pieces, plan.elements)) refuse(from, "its pieces are not those of a vector");
    plan.codec = std::make_shared<compress::VectorCodec>(format, pieces, plan.elements);
    plan.chunk_elements = begin.chunk_elements();
    if (plan.chunk_elements == 0 || plan.chunk_elements != usable_chunk(plan.chunk_elements, format))
        refuse(from, "its chunks have an impossible size");
    if (plan.elements / plan.chunk_elements > kMaximumChunks) refuse(from, "its chunks are too small");
    const Digest digest = sha256(view(bytes));
    std::copy_n(digest.bytes.begin(), plan.id.size(), plan.id.begin());
    plan.lines = make_lines(plan.members);
    plan.bytes = static_cast<double>(plan.codec->encoded_size(0, plan.elements));
    plan.shares = make_shares(plan, format.granularity());
    plan.promised_seconds = promised_seconds(plan);
    plan.scales = make_scales(plan.members);
    plan.state_scales = make_state_scales(plan.members);
    return plan;
}

}  // namespace shoal::collective
