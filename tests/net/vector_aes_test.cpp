// The cipher of TLS on vector units computes what OpenSSL's own does. (Where the processor has no such units,
// both are OpenSSL's own.)
#include "shoal/net/vector_aes.h"

#include <gtest/gtest.h>
#include <memory>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <random>
#include <string>

#include "shoal/base/bytes.h"

namespace shoal::net {
namespace {

constexpr int kTagBytes = 16;

struct Free {
    void operator()(EVP_CIPHER* cipher) const { EVP_CIPHER_free(cipher); }
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};

/// AES-128-GCM of one library, with one key, as TLS uses it: a new IV and header for each record.
class Aead {
  public:
    Aead(OSSL_LIB_CTX* library, const Bytes& key, bool encrypt)
        : cipher_(EVP_CIPHER_fetch(library, "AES-128-GCM", nullptr)), context_(EVP_CIPHER_CTX_new()) {
        EXPECT_EQ(EVP_CipherInit_ex(context(), cipher_.get(), nullptr, nullptr, nullptr, encrypt), 1);
        EXPECT_EQ(EVP_CIPHER_CTX_ctrl(context(), EVP_CTRL_AEAD_SET_IVLEN, 12, nullptr), 1);
        EXPECT_EQ(EVP_CipherInit_ex(context(), nullptr, nullptr, key.data(), nullptr, -1), 1);
    }

    /// The text in pieces of this size, then the tag.
    Bytes seal(const Bytes& iv, const Bytes& header, const Bytes& text, std::size_t piece) {
        EXPECT_EQ(EVP_CipherInit_ex(context(), nullptr, nullptr, nullptr, iv.data(), 1), 1);
        Bytes sealed = run(header, text, piece);
        int length = 0;
        EXPECT_EQ(EVP_CipherFinal_ex(context(), sealed.data() + sealed.size(), &length), 1);
        sealed.resize(sealed.size() + kTagBytes);
        EXPECT_EQ(EVP_CIPHER_CTX_ctrl(context(), EVP_CTRL_AEAD_GET_TAG, kTagBytes,
                                      sealed.data() + sealed.size() - kTagBytes),
                  1);
        return sealed;
    }

    /// True if the tag fits; the text then stands in `text`.
    bool open(const Bytes& iv, const Bytes& header, const Bytes& sealed, std::size_t piece, Bytes& text) {
        Bytes tag(sealed.end() - kTagBytes, sealed.end());
        EXPECT_EQ(EVP_CipherInit_ex(context(), nullptr, nullptr, nullptr, iv.data(), 0), 1);
        EXPECT_EQ(EVP_CIPHER_CTX_ctrl(context(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()), 1);
        text = run(header, Bytes(sealed.begin(), sealed.end() - kTagBytes), piece);
        int length = 0;
        return EVP_CipherFinal_ex(context(), tag.data(), &length) == 1;
    }

    std::string provider() const { return OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(cipher_.get())); }
    EVP_CIPHER_CTX* context() { return context_.get(); }

  private:
    Bytes run(const Bytes& header, const Bytes& text, std::size_t piece) {
        int length = 0;
        EXPECT_EQ(
            EVP_CipherUpdate(context(), nullptr, &length, header.data(), static_cast<int>(header.size())), 1);
        Bytes result(text);  // in place, as TLS does it
        for (std::size_t done = 0; done < text.size(); done += piece) {
            const int count = static_cast<int>(std::min(piece, text.size() - done));
            EXPECT_EQ(EVP_CipherUpdate(context(), result.data() + done, &length, result.data() + done, count),
                      1);
            EXPECT_EQ(length, count);
        }
        return result;
    }

    std::unique_ptr<EVP_CIPHER, Free> cipher_;
    std::unique_ptr<EVP_CIPHER_CTX, Free> context_;
};

class VectorAes : public ::testing::Test {
  protected:
    Bytes random(std::size_t size) {
        Bytes bytes(size);
        for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator_());
        return bytes;
    }
    std::mt19937 generator_{1};
    const Bytes key_ = random(16);
};

TEST_F(VectorAes, seals_and_opens_as_openssl_does) {
    Aead ours(tls_library(), key_, true), theirs(nullptr, key_, true);
    Aead our_opener(tls_library(), key_, false), their_opener(nullptr, key_, false);
    EXPECT_EQ(ours.provider(), tls_library() ? "shoal" : "default");
    EXPECT_EQ(theirs.provider(), "default");
    for (const std::size_t size : {0, 1, 15, 16, 17, 255, 256, 1000, 16383, 16384, 16385, 100000}) {
        for (const std::size_t piece : {7, 16, 100, 4096, 1 << 20}) {
            const Bytes iv = random(12), header = random(5), text = random(size);
            const Bytes sealed = ours.seal(iv, header, text, piece);
            ASSERT_EQ(sealed, theirs.seal(iv, header, text, piece)) << size << " bytes in " << piece;
            Bytes opened;
            ASSERT_TRUE(our_opener.open(iv, header, sealed, piece, opened));
            ASSERT_EQ(opened, text);
            ASSERT_TRUE(their_opener.open(iv, header, sealed, piece, opened));
            ASSERT_EQ(opened, text);
        }
    }
}

TEST_F(VectorAes, refuses_whatever_was_changed) {
    Aead sealer(tls_library(), key_, true), opener(tls_library(), key_, false);
    const Bytes iv = random(12), header = random(5), text = random(300);
    const Bytes sealed = sealer.seal(iv, header, text, 300);
    Bytes opened;
    for (std::size_t i = 0; i < sealed.size(); ++i) {
        Bytes changed = sealed;
        changed[i] ^= static_cast<std::uint8_t>(1u << (i % 8));
        EXPECT_FALSE(opener.open(iv, header, changed, 300, opened)) << "byte " << i;
    }
    Bytes other_header = header, other_iv = iv;
    other_header[4] ^= 1;
    other_iv[11] ^= 1;
    EXPECT_FALSE(opener.open(iv, other_header, sealed, 300, opened));
    EXPECT_FALSE(opener.open(other_iv, header, sealed, 300, opened));
    EXPECT_TRUE(opener.open(iv, header, sealed, 300, opened));
    EXPECT_EQ(opened, text);
}

TEST_F(VectorAes, wants_a_new_iv_for_each_record_and_a_tag_of_full_length) {
    Aead sealer(tls_library(), key_, true), opener(tls_library(), key_, false);
    const Bytes iv = random(12), header = random(5), text = random(40);
    sealer.seal(iv, header, text, 40);
    Bytes out(64);
    int length = 0;
    EXPECT_NE(EVP_CipherUpdate(sealer.context(), out.data(), &length, text.data(), 40), 1);
    ASSERT_EQ(EVP_CipherInit_ex(opener.context(), nullptr, nullptr, nullptr, iv.data(), 0), 1);
    EXPECT_NE(EVP_CIPHER_CTX_ctrl(opener.context(), EVP_CTRL_AEAD_SET_TAG, 17, out.data()), 1);
}

}  // namespace
}  // namespace shoal::net
