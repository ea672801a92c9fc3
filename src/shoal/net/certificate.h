// TLS certificates that say one thing: this connection belongs to the holder of that Ed25519 key.
#pragma once

#include <memory>
#include <openssl/ssl.h>

#include "shoal/base/identity.h"

namespace shoal::net {

struct FreeTlsContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using TlsContext = std::unique_ptr<SSL_CTX, FreeTlsContext>;

/// A context for one side of TLS 1.3 with certificates on both sides: ours is self-signed on `key`, and of
/// the other side any self-signed certificate on an Ed25519 key is accepted; who that is, says tls_peer(). No
/// names, dates or authorities count. Throws Error(system).
TlsContext make_tls_context(const KeyPair& key, bool server);

/// Whose certificate the finished handshake proved. Throws Error(protocol_violation).
PeerId tls_peer(SSL* session);

}  // namespace shoal::net
