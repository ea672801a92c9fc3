#include "shoal/base/hash.h"

#include <algorithm>
#include <bit>
#include <openssl/evp.h>
#include <stdexcept>

#if defined(__x86_64__)
#include <immintrin.h>
#include <xxh_x86dispatch.h>  // the same functions for the widest vectors that the processor has
#else
#include <xxhash.h>
#endif

#include "shoal/base/error.h"

namespace shoal {

Digest Digest::from_hex(std::string_view hex) {
    if (hex.size() != 64) {
        throw Error(ErrorKind::invalid_argument,
                    "a SHA-256 value has 64 hexadecimal digits, this text has " + std::to_string(hex.size()));
    }
    return from_bytes(shoal::from_hex(hex));
}

Digest Digest::from_bytes(ByteView bytes) {
    Digest digest;
    if (bytes.size() != digest.bytes.size()) {
        throw Error(ErrorKind::protocol_violation,
                    "a SHA-256 value has 32 bytes, this one has " + std::to_string(bytes.size()));
    }
    std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
    return digest;
}

struct Sha256::State {
    State() : context(EVP_MD_CTX_new()) {
        if (context == nullptr) throw std::bad_alloc();
        start();
    }
    ~State() { EVP_MD_CTX_free(context); }
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    void start() {
        // Looked up once: with EVP_sha256() OpenSSL 3 looks for it anew each time, longer than a short text
        // takes.
        static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
        if (algorithm == nullptr || EVP_DigestInit_ex(context, algorithm, nullptr) != 1) {
            throw Error(ErrorKind::system, "OpenSSL does not offer SHA-256 on this machine");
        }
    }

    EVP_MD_CTX* context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(ByteView bytes) {
    if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1) {
        throw Error(ErrorKind::system, "OpenSSL could not compute a SHA-256 value");
    }
}

Digest Sha256::finish() {
    Digest digest;
    unsigned int size = 0;
    if (EVP_DigestFinal_ex(state_->context, digest.bytes.data(), &size) != 1 || size != digest.bytes.size()) {
        throw Error(ErrorKind::system, "OpenSSL could not compute a SHA-256 value");
    }
    state_->start();  // the object can be used again, for the next value
    return digest;
}

Digest sha256(ByteView bytes) {
    thread_local Sha256 hash;  // an OpenSSL context takes longer to make than a short text to hash
    hash.update(bytes);
    return hash.finish();
}

Digest merkle_leaf(ByteView bytes) {
    constexpr std::uint8_t kLeaf = 0x00;
    Sha256 hash;
    hash.update({&kLeaf, 1});
    hash.update(bytes);
    return hash.finish();
}

// RFC 6962, section 2.1: the left subtree of n > 1 leaves holds the largest power of two below n.
Digest merkle_root(std::span<const Digest> leaves) {
    if (leaves.empty()) return sha256({});
    if (leaves.size() == 1) return leaves.front();
    constexpr std::uint8_t kInner = 0x01;
    const std::size_t left_size = std::bit_floor(leaves.size() - 1);
    const Digest left = merkle_root(leaves.first(left_size));
    const Digest right = merkle_root(leaves.subspan(left_size));
    Sha256 hash;
    hash.update({&kInner, 1});
    hash.update(left.bytes);
    hash.update(right.bytes);
    return hash.finish();
}

namespace {

/// The library's vector code leaves the upper halves of the registers in use, and until they are cleared all
/// code for SSE is several times slower (measured: a pass over 256 KiB 28 us instead of 5).
#if defined(__x86_64__)
__attribute__((target("avx"))) void clear_upper_halves() {
    _mm256_zeroupper();
}
void leave_vector_code() {
    if (__builtin_cpu_supports("avx")) clear_upper_halves();
}
#else
void leave_vector_code() {}
#endif

}  // namespace

Fingerprint fingerprint(ByteView bytes, std::uint64_t seed) {
    const XXH128_hash_t value = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
    leave_vector_code();
    return {value.low64, value.high64};
}

std::string Fingerprint::hex() const {
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t i = 0; i < 8; ++i) {
        bytes[i] = static_cast<std::uint8_t>(high >> (56 - 8 * i));
        bytes[8 + i] = static_cast<std::uint8_t>(low >> (56 - 8 * i));
    }
    return to_hex(bytes);
}

}  // namespace shoal
