#include "shoal/base/hash.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <vector>
#include <xxhash.h>

#include "shoal/base/error.h"

namespace shoal {
namespace {

std::string root_of(const std::vector<std::string>& leaves) {
    std::vector<Digest> digests;
    for (const std::string& leaf : leaves) digests.push_back(merkle_leaf(from_hex(leaf)));
    return merkle_root(digests).hex();
}

TEST(Sha256, GivesThePublishedValues) {
    EXPECT_EQ(sha256({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256(as_bytes("abc")).hex(),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

RC_GTEST_PROP(Sha256, DoesNotDependOnHowTheBytesArrive, (const Bytes& first, const Bytes& second)) {
    Bytes whole = first;
    whole.insert(whole.end(), second.begin(), second.end());
    Sha256 hash;
    hash.update(first);
    hash.update(second);
    RC_ASSERT(hash.finish() == sha256(whole));
}

TEST(Sha256, StartsAfreshAfterFinish) {
    Sha256 hash;
    hash.update(as_bytes("something else"));
    hash.finish();
    hash.update(as_bytes("abc"));
    EXPECT_EQ(hash.finish(), sha256(as_bytes("abc")));
}

// The test vectors of the Certificate Transparency reference implementation.
TEST(MerkleRoot, GivesThePublishedValuesOfRfc6962) {
    const std::vector<std::string> inputs = {
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    };
    const std::vector<std::string> roots = {
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    };
    for (std::size_t n = 1; n <= inputs.size(); ++n) {
        EXPECT_EQ(root_of({inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(n)}), roots[n - 1])
            << n;
    }
}

TEST(MerkleRoot, OfNothingIsTheHashOfNothing) {
    EXPECT_EQ(merkle_root({}), sha256({}));
}

TEST(MerkleRoot, OfOneLeafIsThatLeafAndNoPlainHash) {
    const std::vector<Digest> leaf{merkle_leaf(as_bytes("abc"))};
    EXPECT_EQ(merkle_root(leaf), leaf.front());
    EXPECT_NE(merkle_root(leaf), sha256(as_bytes("abc")));
}

TEST(Digest, IsReadBackFromItsText) {
    const Digest digest = sha256(as_bytes("abc"));
    EXPECT_EQ(Digest::from_hex(digest.hex()), digest);
    EXPECT_EQ(Digest::from_bytes(digest.bytes), digest);
}

TEST(Digest, IsRefusedAtEveryOtherLength) {
    for (const std::size_t size : {0U, 31U, 33U}) {
        try {
            Digest::from_bytes(Bytes(size));
            FAIL() << size;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::protocol_violation);
        }
    }
    for (const std::size_t digits : {0U, 62U, 63U, 65U, 66U}) {
        EXPECT_THROW(Digest::from_hex(std::string(digits, 'a')), Error) << digits;
    }
}

TEST(Fingerprint, GivesThePublishedValueOfXxh3) {
    EXPECT_EQ(fingerprint({}).hex(), "99aa06d3014798d86001c324468d497f");
}

TEST(Fingerprint, IsThatOfThePortableCodeWhateverVectorsTheProcessorHas) {
    Bytes bytes(100'000);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * i >> 3);
    for (const std::size_t size : {1, 16, 17, 128, 240, 241, 1023, 1024, 65'537, 100'000}) {
        for (const std::uint64_t seed : {0, 7}) {
            const XXH128_hash_t portable = XXH3_128bits_withSeed(bytes.data(), size, seed);
            const Fingerprint ours = fingerprint(ByteView(bytes).first(size), seed);
            EXPECT_EQ(ours.low, portable.low64) << size;
            EXPECT_EQ(ours.high, portable.high64) << size;
        }
    }
}

TEST(Fingerprint, DiffersByContentAndBySeed) {
    EXPECT_EQ(fingerprint(as_bytes("abc"), 7), fingerprint(as_bytes("abc"), 7));
    EXPECT_NE(fingerprint(as_bytes("abc"), 7), fingerprint(as_bytes("abd"), 7));
    EXPECT_NE(fingerprint(as_bytes("abc"), 7), fingerprint(as_bytes("abc"), 8));
}

}  // namespace
}  // namespace shoal
