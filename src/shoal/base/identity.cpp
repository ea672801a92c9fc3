#include "shoal/base/identity.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "shoal/base/error.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

struct FreeKey {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeKeyContext {
    void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
struct FreeDigestContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
struct FreeBio {
    void operator()(BIO* bio) const { BIO_free(bio); }
};
using OwnedKey = std::unique_ptr<EVP_PKEY, FreeKey>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, FreeKeyContext>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeDigestContext>;
using OwnedBio = std::unique_ptr<BIO, FreeBio>;

constexpr std::size_t kMaxKeyFile =
    16384;  // a PKCS#8 Ed25519 key takes 119 bytes; anything large is another file

[[noreturn]] void throw_openssl(const std::string& what) {
    ERR_clear_error();
    throw Error(ErrorKind::system, "OpenSSL could not " + what);
}

[[noreturn]] void throw_system(const std::string& what, const fs::path& file) {
    throw Error(ErrorKind::system,
                what + " " + file.string() + ": " + std::generic_category().message(errno));
}

OwnedKey generate_key() {
    const KeyContext context(EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, nullptr));
    EVP_PKEY* key = nullptr;
    if (!context || EVP_PKEY_keygen_init(context.get()) != 1 || EVP_PKEY_keygen(context.get(), &key) != 1) {
        throw_openssl("generate an Ed25519 key");
    }
    return OwnedKey(key);
}

// An encrypted file must fail, not ask for a password on the terminal.
int no_password(char*, int, int, void*) {
    return -1;
}

OwnedKey parse_key(const std::string& pem) {
    const OwnedBio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    OwnedKey key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr) : nullptr);
    ERR_clear_error();
    return key;
}

std::string to_pem(EVP_PKEY* key) {
    const OwnedBio bio(BIO_new(BIO_s_mem()));
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
        throw_openssl("encode a private key");
    }
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}

/// A new file beside `file` that nobody else can read, complete on the disk. Returns its name.
fs::path write_private_file_beside(const fs::path& file, const std::string& text) {
    std::string name = file.string() + ".XXXXXX";
    const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);  // mode 0600
    if (descriptor < 0) throw_system("cannot write beside", file);
    std::size_t done = 0;
    bool good = true;
    while (good && done < text.size()) {
        const ssize_t written = ::write(descriptor, text.data() + done, text.size() - done);
        if (written < 0 && errno == EINTR) continue;
        good = written > 0;
        if (good) done += static_cast<std::size_t>(written);
    }
    good = good && ::fsync(descriptor) == 0;
    const int failure = errno;
    ::close(descriptor);
    if (!good) {
        ::unlink(name.c_str());
        errno = failure;
        throw_system("cannot write", file);
    }
    return name;
}

void create_parent(const fs::path& file) {
    std::error_code code;
    if (file.has_parent_path()) fs::create_directories(file.parent_path(), code);
    if (code)
        throw Error(ErrorKind::system,
                    "cannot create the folder of " + file.string() + ": " + code.message());
}

}  // namespace

PeerId PeerId::of(const PublicKey& key) {
    return PeerId(sha256(key));
}

/// Invariant: `key` is an Ed25519 pair, `public_key` its public half.
struct KeyPair::State {
    explicit State(OwnedKey owned) : key(std::move(owned)) {
        std::size_t size = public_key.size();
        if (EVP_PKEY_get_raw_public_key(key.get(), public_key.data(), &size) != 1 ||
            size != public_key.size()) {
            throw_openssl("read a public key");
        }
    }
    OwnedKey key;
    PublicKey public_key{};
};

KeyPair KeyPair::generate() {
    return KeyPair(std::make_shared<const State>(generate_key()));
}

KeyPair KeyPair::from_seed(ByteView seed) {
    if (seed.size() != 32) {
        throw Error(ErrorKind::invalid_argument,
                    "the seed of a key has 32 bytes, this one has " + std::to_string(seed.size()));
    }
    OwnedKey key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
    if (!key) throw_openssl("make a key from a seed");
    return KeyPair(std::make_shared<const State>(std::move(key)));
}

KeyPair KeyPair::load(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
        throw Error(ErrorKind::bad_input, "cannot open the key file " + file.string() + ": " +
                                              std::generic_category().message(errno));
    }
    std::string pem(kMaxKeyFile, '\0');
    stream.read(pem.data(), static_cast<std::streamsize>(pem.size()));
    pem.resize(static_cast<std::size_t>(stream.gcount()));
    OwnedKey key = parse_key(pem);
    if (!key) {
        throw Error(ErrorKind::bad_input,
                    file.string() +
                        " is no private key in PEM form without a password; restore it from a "
                        "backup, or remove it and this peer gets a new identity");
    }
    if (EVP_PKEY_id(key.get()) != EVP_PKEY_ED25519) {
        throw Error(ErrorKind::bad_input,
                    file.string() + " holds a key of another kind; Shoal needs Ed25519");
    }
    return KeyPair(std::make_shared<const State>(std::move(key)));
}

KeyPair KeyPair::load_or_create(const fs::path& file) {
    std::error_code ignored;
    if (fs::exists(file, ignored)) return load(file);
    create_parent(file);
    KeyPair pair = generate();
    const fs::path fresh = write_private_file_beside(file, to_pem(pair.state_->key.get()));
    // link() refuses to replace: of two processes that start together one creates the file, the other loads
    // it.
    const bool linked = ::link(fresh.c_str(), file.c_str()) == 0;
    const int failure = errno;
    ::unlink(fresh.c_str());
    if (linked) return pair;
    if (failure == EEXIST) return load(file);
    errno = failure;
    throw_system("cannot create the key file", file);
}

void KeyPair::save(const fs::path& file) const {
    create_parent(file);
    const fs::path fresh = write_private_file_beside(file, to_pem(state_->key.get()));
    if (::rename(fresh.c_str(), file.c_str()) == 0) return;
    const int failure = errno;
    ::unlink(fresh.c_str());
    errno = failure;
    throw_system("cannot write the key file", file);
}

PublicKey KeyPair::public_key() const {
    return state_->public_key;
}

Signature KeyPair::sign(ByteView message) const {
    const DigestContext context(EVP_MD_CTX_new());
    Signature signature{};
    std::size_t size = signature.size();
    if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, state_->key.get()) != 1 ||
        EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) != 1) {
        throw_openssl("sign a message");
    }
    return signature;
}

void* KeyPair::native_handle() const {
    return state_->key.get();
}

namespace {

bool verify_anew(const PublicKey& key, ByteView message, const Signature& signature) {
    const OwnedKey owned(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
    const DigestContext context(EVP_MD_CTX_new());
    const bool good = owned && context &&
                      EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, owned.get()) == 1 &&
                      EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                                       message.size()) == 1;
    if (!good) ERR_clear_error();  // OpenSSL's error queue belongs to the thread; TLS code reads it later
    return good;
}

/// The digests of what was found to be signed, each in the one place that its first bytes name. Only who
/// finds a collision of SHA-256 could have something pass for what was verified before.
class VerifiedSignatures {
  public:
    static Digest digest_of(const PublicKey& key, ByteView message, const Signature& signature) {
        thread_local Sha256 hash;
        hash.update(key);
        hash.update(signature);
        hash.update(message);
        return hash.finish();
    }
    bool contains(const Digest& digest) const {
        return !places_.empty() && places_[place_of(digest)] == digest;
    }
    void add(const Digest& digest) {
        if (places_.empty()) places_.resize(kPlaces);
        places_[place_of(digest)] = digest;
    }

  private:
    static constexpr std::size_t kPlaces = 16 * 1024;  // half a mebibyte
    static std::size_t place_of(const Digest& digest) {
        return (digest.bytes[0] | static_cast<std::size_t>(digest.bytes[1]) << 8) % kPlaces;
    }
    std::vector<Digest> places_;
};

}  // namespace

bool verify(const PublicKey& key, ByteView message, const Signature& signature) {
    // A peer sees each record and each join several times (from connections, from the directory, in what
    // others pass on), and a simulated swarm sees them in one thread. What is remembered of a pure function
    // changes nothing, so it may lie here and need not be carried to all who verify.
    thread_local VerifiedSignatures verified;
    const Digest digest = VerifiedSignatures::digest_of(key, message, signature);
    if (verified.contains(digest)) return true;
    if (!verify_anew(key, message, signature)) return false;
    verified.add(digest);
    return true;
}

}  // namespace shoal
