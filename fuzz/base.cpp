// Keys, ids and digests in text and bytes, as they come from files and from strangers.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"
#include "shoal/base/identity.h"

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

void read_texts(shoal::ByteView input) {
    const std::string_view text = shoal::as_text(input);
    try {
        const shoal::Bytes bytes = shoal::from_hex(text);
        require(shoal::from_hex(shoal::to_hex(bytes)) == bytes);
        require(shoal::PeerId::from_hex(text).bytes().size() == 32);
    } catch (const shoal::Error&) {
    }
}

void check_signature(shoal::ByteView input) {
    shoal::PublicKey key{};
    shoal::Signature signature{};
    if (input.size() < key.size() + signature.size()) return;
    std::copy_n(input.begin(), key.size(), key.begin());
    std::copy_n(input.begin() + key.size(), signature.size(), signature.begin());
    shoal::verify(key, input.subspan(key.size() + signature.size()), signature);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const shoal::ByteView input(data, size);
    read_texts(input);
    check_signature(input);
    return 0;
}
