// Messages of a state transfer, as donor and as receiver. The first byte chooses; the rest is a control
// message.
#include "shoal/collective/state_messages.h"

#include <cstdlib>

#include "shoal/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using namespace shoal::collective;
    if (size == 0) return 0;
    const PeerId from(sha256(as_bytes("from")));
    const ByteView rest(data + 1, size - 1);
    const net::Message message(Bytes(rest.begin(), rest.end()));
    constexpr std::size_t kMaximumBytes = 1U << 20;
    try {
        if (data[0] % 2 == 0) {
            const StateRequest request = decode_state_request(message, from);
            decode_state_request(net::Message(encode_state_request(request)), from);
        } else {
            const StateAnswer answer = decode_state_answer(message, from, kMaximumBytes);
            if (answer.what == StateAnswer::What::manifest) {
                const StateManifest& manifest = answer.manifest;
                if (manifest.total_bytes() > kMaximumBytes) std::abort();
                const auto state = empty_state(manifest);
                for (std::size_t chunk = 0; chunk < manifest.chunks(); ++chunk)
                    copy_in(*state, chunk * manifest.chunk_bytes, Bytes(manifest.size_of_chunk(chunk), 1));
                if (manifest_of(*state, manifest.chunk_bytes).header_leaf() != manifest.header_leaf())
                    std::abort();
            }
            if (answer.digests.size() > kDigestsOfMessage) std::abort();
            const StateAnswer again =
                decode_state_answer(net::Message(encode_state_answer(answer)), from, kMaximumBytes);
            if (again.digests != answer.digests) std::abort();
        }
    } catch (const Error&) {
    }
    return 0;
}
