// The frame decoder and the multiplexer behind it, and the hello of a stranger.
#include "../tests/net/frame_victim.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "shoal/net/hello.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    if (size < 2) return 0;
    const ByteView bytes(data + 2, size - 2);
    try {
        const net::Greeting theirs = net::parse_greeting(bytes);
        net::Greeting ours;
        ours.agreed = {{"run", "fuzz"}};
        ours.agreed_hash = net::hash_of(ours.agreed);
        (void)net::disagreement(ours, theirs);
    } catch (const Error&) {
        // Refused, as it should be.
    }
    net::testing::FrameVictim victim;
    // The first two bytes say in how large pieces the rest arrives; not too many, for speed.
    const std::size_t wanted = 1 + (data[0] | static_cast<std::size_t>(data[1]) << 8);
    const std::size_t piece = std::max(wanted, bytes.size() / 16);
    for (std::size_t start = 0; start < bytes.size() && !victim.ended(); start += piece)
        victim.feed(bytes.subspan(start, std::min(piece, bytes.size() - start)));
    if (victim.victim().unread_bytes() > 4 * net::kMinimumWindow) __builtin_trap();
    return 0;
}
