#include "shoal/base/identity.h"

#include <fstream>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <set>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "shoal/base/error.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

/// A folder of its own for each test, removed at the end.
class KeyFile : public testing::Test {
  protected:
    KeyFile() {
        std::string name = testing::TempDir() + "shoal-identity-XXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~KeyFile() override { fs::remove_all(folder_); }

    void write(const std::string& text) const { std::ofstream(file()) << text; }
    fs::path file() const { return folder_ / "identity.pem"; }
    const fs::path& folder() const { return folder_; }
    static ErrorKind kind_of_failure(const fs::path& path) {
        try {
            KeyPair::load(path);
        } catch (const Error& error) {
            return error.kind();
        }
        ADD_FAILURE() << "loaded " << path;
        return ErrorKind::system;
    }

  private:
    fs::path folder_;
};

KeyPair pair_of(std::uint8_t seed) {
    return KeyPair::from_seed(Bytes(32, seed));
}

// RFC 8032, section 7.1, test 2.
TEST(KeyPair, SignsAsTheStandardSays) {
    const KeyPair pair =
        KeyPair::from_seed(from_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
    EXPECT_EQ(to_hex(pair.public_key()), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    EXPECT_EQ(to_hex(pair.sign(Bytes{0x72})),
              "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
              "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
}

TEST(KeyPair, IsFixedByItsSeedAndOtherwiseNew) {
    EXPECT_EQ(pair_of(1).peer_id(), pair_of(1).peer_id());
    EXPECT_NE(pair_of(1).peer_id(), pair_of(2).peer_id());
    EXPECT_NE(KeyPair::generate().peer_id(), KeyPair::generate().peer_id());
    EXPECT_THROW(KeyPair::from_seed(Bytes(31)), Error);
    EXPECT_THROW(KeyPair::from_seed(Bytes(33)), Error);
}

TEST(Verify, AcceptsOnlyTheSignersMessage) {
    const KeyPair pair = pair_of(1);
    const Signature signature = pair.sign(as_bytes("step 17"));
    EXPECT_TRUE(verify(pair.public_key(), as_bytes("step 17"), signature));
    EXPECT_FALSE(verify(pair.public_key(), as_bytes("step 18"), signature));
    EXPECT_FALSE(verify(pair.public_key(), {}, signature));
    EXPECT_FALSE(verify(pair_of(2).public_key(), as_bytes("step 17"), signature));
    EXPECT_FALSE(verify(PublicKey{}, as_bytes("step 17"), signature));
    EXPECT_TRUE(verify(pair.public_key(), {}, pair.sign({})));
}

TEST(Verify, NoticesEveryFlippedBitOfASignature) {
    const KeyPair pair = pair_of(1);
    const Signature signature = pair.sign(as_bytes("step 17"));
    for (std::size_t bit = 0; bit < 8 * signature.size(); ++bit) {
        Signature changed = signature;
        changed[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        EXPECT_FALSE(verify(pair.public_key(), as_bytes("step 17"), changed)) << bit;
    }
}

TEST(Verify, TakesNothingElseForWhatItFoundGoodBefore) {
    const KeyPair pair = pair_of(1);
    const Bytes message = to_bytes("step 17");
    const Signature signature = pair.sign(message);
    const auto flip = [](auto bytes, std::size_t bit) {
        bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        return bytes;
    };
    for (int turn = 0; turn < 2; ++turn) {
        EXPECT_TRUE(verify(pair.public_key(), message, signature));
        for (std::size_t bit = 0; bit < 8 * signature.size(); ++bit)
            EXPECT_FALSE(verify(pair.public_key(), message, flip(signature, bit))) << bit;
        for (std::size_t bit = 0; bit < 8 * message.size(); ++bit)
            EXPECT_FALSE(verify(pair.public_key(), flip(message, bit), signature)) << bit;
        for (std::size_t bit = 0; bit < 8 * sizeof(PublicKey); ++bit)
            EXPECT_FALSE(verify(flip(pair.public_key(), bit), message, signature)) << bit;
    }
}

TEST(PeerId, IsTheHashOfThePublicKey) {
    const KeyPair pair = pair_of(1);
    const PeerId id = pair.peer_id();
    EXPECT_EQ(id.hex(), sha256(pair.public_key()).hex());
    EXPECT_EQ(id.short_name(), id.hex().substr(0, 8));
    EXPECT_EQ(PeerId::from_hex(id.hex()), id);
    EXPECT_EQ(PeerId::from_bytes(id.bytes()), id);
    EXPECT_THROW(PeerId::from_bytes(Bytes(31)), Error);
}

TEST(PeerId, IsOrderedBytewise) {
    const PeerId low = PeerId::from_hex("00ff" + std::string(60, 'f'));
    const PeerId high = PeerId::from_hex("0100" + std::string(60, '0'));
    EXPECT_LT(low, high);
    EXPECT_NE(std::hash<PeerId>{}(low), std::hash<PeerId>{}(high));
}

TEST_F(KeyFile, BringsBackTheSamePeer) {
    const KeyPair pair = KeyPair::generate();
    pair.save(file());
    const KeyPair loaded = KeyPair::load(file());
    EXPECT_EQ(loaded.peer_id(), pair.peer_id());
    EXPECT_TRUE(verify(pair.public_key(), as_bytes("hello"), loaded.sign(as_bytes("hello"))));
}

TEST_F(KeyFile, IsReadableByItsOwnerOnlyAndLeavesNothingBesideIt) {
    KeyPair::load_or_create(file());
    struct stat status{};
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder()), {}), 1);
}

TEST_F(KeyFile, IsCreatedOnceWithItsFolderAndLoadedAfterwards) {
    const fs::path deep = folder() / "a" / "b" / "identity.pem";
    const PeerId first = KeyPair::load_or_create(deep).peer_id();
    EXPECT_EQ(KeyPair::load_or_create(deep).peer_id(), first);
}

TEST_F(KeyFile, GivesOneIdentityToAllWhoCreateItTogether) {
    std::vector<PeerId> ids(8);
    std::vector<std::jthread> threads;
    for (PeerId& id : ids) {
        threads.emplace_back([this, &id] { id = KeyPair::load_or_create(file()).peer_id(); });
    }
    threads.clear();  // joins
    EXPECT_EQ(std::set<PeerId>(ids.begin(), ids.end()).size(), 1U);
}

TEST_F(KeyFile, IsRefusedWhenMissingOrDamaged) {
    EXPECT_EQ(kind_of_failure(file()), ErrorKind::bad_input);
    write("");
    EXPECT_EQ(kind_of_failure(file()), ErrorKind::bad_input);
    write("-----BEGIN PRIVATE KEY-----\nnot base64\n-----END PRIVATE KEY-----\n");
    EXPECT_EQ(kind_of_failure(file()), ErrorKind::bad_input);
    EXPECT_EQ(kind_of_failure(folder()), ErrorKind::bad_input);
}

TEST_F(KeyFile, IsNeverOverwrittenWhenDamaged) {
    write("precious");
    EXPECT_THROW(KeyPair::load_or_create(file()), Error);
    std::ifstream stream(file());
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), "precious");
}

TEST_F(KeyFile, IsRefusedWhenItHoldsAnotherKindOfKey) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    ASSERT_NE(key, nullptr);
    FILE* stream = std::fopen(file().c_str(), "w");
    ASSERT_NE(stream, nullptr);
    PEM_write_PKCS8PrivateKey(stream, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(stream);
    EVP_PKEY_free(key);
    EXPECT_EQ(kind_of_failure(file()), ErrorKind::bad_input);
}

TEST_F(KeyFile, SaysSoWhenItCannotBeWritten) {
    write("a file where a folder is needed");
    try {
        KeyPair::generate().save(file() / "identity.pem");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::system);
    }
}

}  // namespace
}  // namespace shoal
