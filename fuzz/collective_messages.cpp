// Messages of an averaging round: the first byte chooses which, the rest are its bytes as a stranger or a
// member sends them.
#include <cstdlib>

#include "shoal/base/error.h"
#include "shoal/collective/blame.h"
#include "shoal/collective/round_messages.h"
#include "shoal/collective/round_plan.h"
#include "shoal/collective/share_reducer.h"
#include "shoal/collective/vote.h"

namespace {

using namespace shoal;
using namespace shoal::collective;

PeerId peer(std::uint8_t number) {
    return PeerId(sha256(ByteView(&number, 1)));
}

AveragerSettings settings() {
    AveragerSettings out;
    out.run = "fuzz";
    out.maximum_elements = 1 << 20;
    return out;
}

Join join_of(std::uint8_t number) {
    Join join;
    join.peer = peer(number);
    join.weight = number + 1;
    join.elements = 10000;
    join.codec = "blockwise8, fp16 below 1000";
    join.pieces = {500, 6001, 7, 3492};
    join.signed_bytes = sign_join(join, "fuzz", nullptr);
    return join;
}

RoundPlan make_plan(const compress::VectorFormat& format) {
    const std::string begin = make_begin(peer(0), 1, {join_of(0), join_of(1), join_of(2)}, 4096, nullptr);
    return read_begin(begin, join_of(0), JoinLimits(settings()), format, 64);
}

/// Whatever members say, no numbers but finite ones come out.
void reduce(const RoundPlan& plan, ByteView bytes) {
    const std::vector<float> contribution(plan.elements, 1.0f);
    std::vector<float> result(plan.elements);
    ShareReducer reducer(plan, contribution, result, 8);
    reducer.advance();
    for (std::size_t chunk = 0; chunk < reducer.chunks(); ++chunk) {
        for (std::size_t member = 0; member < plan.members.size(); ++member) {
            if (!reducer.is_sender(member)) continue;
            const Share range = plan.chunk(plan.self, chunk);
            Bytes payload(plan.codec->encoded_size(range.begin, range.size()));
            for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = bytes[(i + chunk) % bytes.size()];
            if (bytes.size() % 5 == 0) payload.resize(bytes.size() % payload.size());
            if (reducer.add(member, std::move(payload))) return;
        }
    }
    const Share& share = plan.shares[plan.self];
    if (!all_finite(std::span<const float>(result).subspan(share.begin, share.size()))) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    static const compress::VectorFormat format("blockwise8", "fp16", 1000);
    static const RoundPlan plan = make_plan(format);
    const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
    const ByteView bytes(data + 1, size - 1);
    try {
        switch (data[0] % 4) {
            case 0: {
                AveragerSettings with_signer = settings();
                if (data[0] % 8 == 0)
                    with_signer.signer = std::make_shared<KeyPair>(KeyPair::from_seed(Bytes(32, 1)));
                const Join join = check_join(text, JoinLimits(with_signer));
                if (join.elements > with_signer.maximum_elements) std::abort();
                break;
            }
            case 1: {
                const RoundPlan other = read_begin(text, join_of(1), JoinLimits(settings()), format, 64);
                if (other.shares.back().end != other.elements) std::abort();
                break;
            }
            case 2: {
                const RoundMessage message = decode_round_message(bytes, 3);
                decode_round_message(encode_round_message(message), 3);
                VoteMachine machine(3, 0, 1);
                machine.propose(VoteValue());
                if (message.vote) machine.receive(data[0] % 3, *message.vote);
                if (message.observation) {
                    const std::vector<Observation> seen(3, *message.observation);
                    find_culprits(seen, std::vector<bool>(3, false), 0, plan);
                    if (message.observation->complete) compare_digests(seen, plan);
                }
                break;
            }
            default:
                reduce(plan, bytes);
        }
    } catch (const Error&) {
    }
    return 0;
}
