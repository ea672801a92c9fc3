#include "shoal/net/vector_aes.h"

#if defined(SHOAL_VECTOR_AES)

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <intel-ipsec-mb.h>
#include <memory>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>

namespace shoal::net {
namespace {

constexpr std::size_t kKeyBytes = 16, kIvBytes = 12, kTagBytes = 16;

/// The library's table of functions, for this processor; nullptr if it has no vector AES.
IMB_MGR* ipsec() {
    static IMB_MGR* const manager = []() -> IMB_MGR* {
        IMB_MGR* made = alloc_mb_mgr(0);
        if (!made) return nullptr;
        init_mb_mgr_auto(made, nullptr);
        constexpr std::uint64_t kWanted = IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ | IMB_FEATURE_AVX512_SKX;
        const bool usable = imb_get_errno(made) == 0 && (made->features & kWanted) == kWanted;
        if (usable) return made;
        free_mb_mgr(made);
        return nullptr;
    }();
    return manager;
}

/// One direction of one connection. A message: an IV, then associated data in one piece (TLS has the header
/// of a record), then text in any number of pieces, then the tag is made or compared.
struct Cipher {
    enum class Stage { no_iv, iv, text, done };

    Cipher() = default;
    ~Cipher() { OPENSSL_cleanse(this, sizeof *this); }
    Cipher(const Cipher&) = default;
    Cipher& operator=(const Cipher&) = delete;

    alignas(64) gcm_key_data key{};  // expanded; read by aligned vectors
    gcm_context_data message{};
    std::array<unsigned char, kIvBytes> iv{};
    std::array<unsigned char, kTagBytes> tag{};
    bool encrypts = false, has_key = false, has_tag = false;
    Stage stage = Stage::no_iv;

    bool begin(bool encrypt, const unsigned char* new_key, std::size_t key_size, const unsigned char* new_iv,
               std::size_t iv_size) {
        encrypts = encrypt;
        if (new_key) {
            if (key_size != kKeyBytes) return false;
            IMB_AES128_GCM_PRE(ipsec(), new_key, &key);
            has_key = true;
        }
        if (new_iv) {
            if (iv_size != kIvBytes) return false;
            std::copy_n(new_iv, kIvBytes, iv.begin());
            stage = Stage::iv;
            has_tag = false;
        }
        return true;
    }

    bool start_text(const unsigned char* associated, std::size_t size) {
        if (!has_key || stage != Stage::iv) return false;
        IMB_AES128_GCM_INIT(ipsec(), &key, &message, iv.data(), associated, size);
        stage = Stage::text;
        return true;
    }

    bool transform(unsigned char* out, const unsigned char* in, std::size_t size) {
        if (stage == Stage::iv && !start_text(nullptr, 0)) return false;
        if (stage != Stage::text) return false;
        if (encrypts) {
            IMB_AES128_GCM_ENC_UPDATE(ipsec(), &key, &message, out, in, size);
        } else {
            IMB_AES128_GCM_DEC_UPDATE(ipsec(), &key, &message, out, in, size);
        }
        return true;
    }

    bool finish() {
        if (stage == Stage::iv && !start_text(nullptr, 0)) return false;
        if (stage != Stage::text) return false;
        stage = Stage::done;
        if (encrypts) {
            IMB_AES128_GCM_ENC_FINALIZE(ipsec(), &key, &message, tag.data(), kTagBytes);
            has_tag = true;
            return true;
        }
        std::array<unsigned char, kTagBytes> computed{};
        IMB_AES128_GCM_DEC_FINALIZE(ipsec(), &key, &message, computed.data(), kTagBytes);
        return has_tag && CRYPTO_memcmp(computed.data(), tag.data(), kTagBytes) == 0;
    }
};

// --- What OpenSSL calls. 1 is good, 0 is not.

Cipher& cipher_of(void* context) {
    return *static_cast<Cipher*>(context);
}

void* new_context(void*) {
    return new (std::nothrow) Cipher;
}

void free_context(void* context) {
    delete static_cast<Cipher*>(context);
}

void* copy_context(void* context) {
    return new (std::nothrow) Cipher(cipher_of(context));
}

int set_parameters(void* context, const OSSL_PARAM* given) {
    Cipher& cipher = cipher_of(context);
    std::size_t iv_size = kIvBytes;
    const OSSL_PARAM* p = OSSL_PARAM_locate_const(given, OSSL_CIPHER_PARAM_AEAD_IVLEN);
    if (p && (OSSL_PARAM_get_size_t(p, &iv_size) != 1 || iv_size != kIvBytes)) return 0;
    p = OSSL_PARAM_locate_const(given, OSSL_CIPHER_PARAM_AEAD_TAG);
    if (!p) return 1;
    if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != kTagBytes || !p->data) return 0;
    if (cipher.encrypts) return 0;
    std::memcpy(cipher.tag.data(), p->data, kTagBytes);
    cipher.has_tag = true;
    return 1;
}

int begin(void* context, bool encrypt, const unsigned char* key, std::size_t key_size,
          const unsigned char* iv, std::size_t iv_size, const OSSL_PARAM* given) {
    return cipher_of(context).begin(encrypt, key, key_size, iv, iv_size) ? set_parameters(context, given) : 0;
}

int begin_encryption(void* context, const unsigned char* key, std::size_t key_size, const unsigned char* iv,
                     std::size_t iv_size, const OSSL_PARAM* given) {
    return begin(context, true, key, key_size, iv, iv_size, given);
}

int begin_decryption(void* context, const unsigned char* key, std::size_t key_size, const unsigned char* iv,
                     std::size_t iv_size, const OSSL_PARAM* given) {
    return begin(context, false, key, key_size, iv, iv_size, given);
}

int update(void* context, unsigned char* out, std::size_t* written, std::size_t space,
           const unsigned char* in, std::size_t size) {
    *written = size;
    if (!out) return cipher_of(context).start_text(in, size) ? 1 : 0;
    if (space < size) return 0;
    return cipher_of(context).transform(out, in, size) ? 1 : 0;
}

int finish(void* context, unsigned char*, std::size_t* written, std::size_t) {
    *written = 0;
    return cipher_of(context).finish() ? 1 : 0;
}

bool tell(OSSL_PARAM* asked, const char* name, std::size_t value) {
    OSSL_PARAM* p = OSSL_PARAM_locate(asked, name);
    return !p || OSSL_PARAM_set_size_t(p, value) == 1;
}

int get_context_parameters(void* context, OSSL_PARAM* asked) {
    const Cipher& cipher = cipher_of(context);
    if (!tell(asked, OSSL_CIPHER_PARAM_KEYLEN, kKeyBytes) ||
        !tell(asked, OSSL_CIPHER_PARAM_IVLEN, kIvBytes) ||
        !tell(asked, OSSL_CIPHER_PARAM_AEAD_TAGLEN, kTagBytes))
        return 0;
    OSSL_PARAM* p = OSSL_PARAM_locate(asked, OSSL_CIPHER_PARAM_AEAD_TAG);
    if (!p) return 1;
    if (!cipher.encrypts || !cipher.has_tag || p->data_size != kTagBytes) return 0;
    return OSSL_PARAM_set_octet_string(p, cipher.tag.data(), kTagBytes);
}

int get_parameters(OSSL_PARAM* asked) {
    OSSL_PARAM* mode = OSSL_PARAM_locate(asked, OSSL_CIPHER_PARAM_MODE);
    if (mode && OSSL_PARAM_set_uint(mode, EVP_CIPH_GCM_MODE) != 1) return 0;
    for (const char* flag : {OSSL_CIPHER_PARAM_AEAD, OSSL_CIPHER_PARAM_CUSTOM_IV}) {
        OSSL_PARAM* p = OSSL_PARAM_locate(asked, flag);
        if (p && OSSL_PARAM_set_int(p, 1) != 1) return 0;
    }
    return tell(asked, OSSL_CIPHER_PARAM_KEYLEN, kKeyBytes) &&
                   tell(asked, OSSL_CIPHER_PARAM_IVLEN, kIvBytes) &&
                   tell(asked, OSSL_CIPHER_PARAM_BLOCK_SIZE, 1)
               ? 1
               : 0;
}

const OSSL_PARAM* gettable_context_parameters(void*, void*) {
    static const OSSL_PARAM known[] = {OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, nullptr),
                                       OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, nullptr),
                                       OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, nullptr),
                                       OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, nullptr, 0),
                                       OSSL_PARAM_END};
    return known;
}

const OSSL_PARAM* settable_context_parameters(void*, void*) {
    static const OSSL_PARAM known[] = {OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, nullptr),
                                       OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, nullptr, 0),
                                       OSSL_PARAM_END};
    return known;
}

template <typename Function>
OSSL_DISPATCH entry(int id, Function* function) {
    return {id, reinterpret_cast<void (*)()>(function)};
}

const OSSL_ALGORITHM* query(void*, int operation, int* no_cache) {
    static const OSSL_DISPATCH functions[] = {
        entry(OSSL_FUNC_CIPHER_NEWCTX, new_context),
        entry(OSSL_FUNC_CIPHER_FREECTX, free_context),
        entry(OSSL_FUNC_CIPHER_DUPCTX, copy_context),
        entry(OSSL_FUNC_CIPHER_ENCRYPT_INIT, begin_encryption),
        entry(OSSL_FUNC_CIPHER_DECRYPT_INIT, begin_decryption),
        entry(OSSL_FUNC_CIPHER_UPDATE, update),
        entry(OSSL_FUNC_CIPHER_FINAL, finish),
        entry(OSSL_FUNC_CIPHER_GET_PARAMS, get_parameters),
        entry(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, get_context_parameters),
        entry(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, set_parameters),
        entry(OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, gettable_context_parameters),
        entry(OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, settable_context_parameters),
        {0, nullptr}};
    static const OSSL_ALGORITHM algorithms[] = {{"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6",
                                                 "provider=shoal", functions, "AES-128-GCM with VAES"},
                                                {nullptr, nullptr, nullptr, nullptr}};
    *no_cache = 0;
    return operation == OSSL_OP_CIPHER ? algorithms : nullptr;
}

int start_provider(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH*, const OSSL_DISPATCH** functions,
                   void** context) {
    static const OSSL_DISPATCH own[] = {entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query), {0, nullptr}};
    *functions = own;
    *context = const_cast<OSSL_CORE_HANDLE*>(handle);  // any value; nothing here looks at it
    return 1;
}

OSSL_LIB_CTX* make_library() {
    if (!ipsec()) return nullptr;
    OSSL_LIB_CTX* library = OSSL_LIB_CTX_new();
    if (!library) return nullptr;
    const bool good = OSSL_PROVIDER_load(library, "default") &&
                      OSSL_PROVIDER_add_builtin(library, "shoal", start_provider) == 1 &&
                      OSSL_PROVIDER_load(library, "shoal") &&
                      EVP_set_default_properties(library, "?provider=shoal") == 1;
    if (good) return library;
    OSSL_LIB_CTX_free(library);
    return nullptr;
}

}  // namespace

OSSL_LIB_CTX* tls_library() {
    static OSSL_LIB_CTX* const library = make_library();
    return library;
}

}  // namespace shoal::net

#else

namespace shoal::net {

OSSL_LIB_CTX* tls_library() {
    return nullptr;
}

}  // namespace shoal::net

#endif
