#include "shoal/net/certificate.h"

#include <cstring>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "shoal/base/error.h"
#include "shoal/net/vector_aes.h"

namespace shoal::net {
namespace {

constexpr unsigned char kProtocol[] = {7, 's', 'h', 'o', 'a', 'l', '/', '1'};  // ALPN: length, name
constexpr long kMaximumCertificateList = 8 * 1024;

struct FreeCertificate {
    void operator()(X509* certificate) const { X509_free(certificate); }
};
using Certificate = std::unique_ptr<X509, FreeCertificate>;

void check(bool good, const char* what) {
    if (good) return;
    ERR_clear_error();
    throw Error(ErrorKind::system, std::string("OpenSSL could not ") + what);
}

Certificate make_certificate(const KeyPair& key) {
    Certificate certificate(X509_new());
    check(certificate != nullptr, "make a certificate");
    X509* x = certificate.get();
    auto* handle = static_cast<EVP_PKEY*>(key.native_handle());
    std::uint64_t serial = 0;
    check(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1, "draw a serial number");
    const std::string name = key.peer_id().hex();
    X509_NAME* subject = X509_get_subject_name(x);
    bool good = X509_set_version(x, 2) == 1;
    good = good && ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1) == 1;
    // Peers' clocks are not trusted, so dates mean nothing; these are the widest that X.509 can say.
    good = good && ASN1_TIME_set_string(X509_getm_notBefore(x), "19700101000000Z") == 1;
    good = good && ASN1_TIME_set_string(X509_getm_notAfter(x), "99991231235959Z") == 1;
    good = good && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                              reinterpret_cast<const unsigned char*>(name.data()),
                                              static_cast<int>(name.size()), -1, 0) == 1;
    good = good && X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, handle) == 1;
    check(good && X509_sign(x, handle, nullptr) > 0, "sign a certificate");
    return certificate;
}

/// Replaces OpenSSL's search for authorities. The handshake itself proves that the other side holds the key.
int accept_self_signed(X509_STORE_CTX* store, void*) {
    X509* leaf = X509_STORE_CTX_get0_cert(store);
    EVP_PKEY* key = leaf ? X509_get0_pubkey(leaf) : nullptr;
    const bool good = key && EVP_PKEY_id(key) == EVP_PKEY_ED25519 && X509_verify(leaf, key) == 1;
    X509_STORE_CTX_set_error(store, good ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
    return good ? 1 : 0;
}

int select_protocol(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                    unsigned int offered_length, void*) {
    unsigned char* result = nullptr;
    if (SSL_select_next_proto(&result, length, kProtocol, sizeof kProtocol, offered, offered_length) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *chosen = result;
    return SSL_TLSEXT_ERR_OK;
}

}  // namespace

TlsContext make_tls_context(const KeyPair& key, bool server) {
    TlsContext context(
        SSL_CTX_new_ex(tls_library(), nullptr, server ? TLS_server_method() : TLS_client_method()));
    check(context != nullptr, "make a TLS context");
    SSL_CTX* c = context.get();
    const Certificate certificate = make_certificate(key);
    bool good = SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) == 1;
    good = good && SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) == 1;
    good = good && SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256") == 1;
    good = good && SSL_CTX_set1_sigalgs_list(c, "ed25519") == 1;
    good = good && SSL_CTX_use_certificate(c, certificate.get()) == 1;
    good = good && SSL_CTX_use_PrivateKey(c, static_cast<EVP_PKEY*>(key.native_handle())) == 1;
    good = good && SSL_CTX_set_num_tickets(c, 0) == 1;
    check(good, "set up TLS 1.3 with an Ed25519 certificate");
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(c, kMaximumCertificateList);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_cert_verify_callback(c, accept_self_signed, nullptr);
    if (server) {
        SSL_CTX_set_alpn_select_cb(c, select_protocol, nullptr);
    } else {
        check(SSL_CTX_set_alpn_protos(c, kProtocol, sizeof kProtocol) == 0, "name the protocol");
    }
    return context;
}

PeerId tls_peer(SSL* session) {
    const unsigned char* protocol = nullptr;
    unsigned int length = 0;
    SSL_get0_alpn_selected(session, &protocol, &length);
    if (length + 1 != sizeof kProtocol || std::memcmp(protocol, kProtocol + 1, length) != 0)
        throw Error(ErrorKind::protocol_violation, "speaks TLS, but is no Shoal peer");
    const Certificate certificate(SSL_get1_peer_certificate(session));
    EVP_PKEY* key = certificate ? X509_get0_pubkey(certificate.get()) : nullptr;
    PublicKey raw{};
    std::size_t size = raw.size();
    if (!key || EVP_PKEY_id(key) != EVP_PKEY_ED25519 ||
        EVP_PKEY_get_raw_public_key(key, raw.data(), &size) != 1 || size != raw.size()) {
        ERR_clear_error();
        throw Error(ErrorKind::protocol_violation, "shows a certificate without an Ed25519 key");
    }
    return PeerId::of(raw);
}

}  // namespace shoal::net
