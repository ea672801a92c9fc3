// AES-128-GCM on the vector units of newer x86 processors, for TLS.
//
// OpenSSL 3.0 encrypts one block an instruction; processors with VAES and VPCLMULQDQ (Intel since Ice Lake,
// AMD since Zen 4) take four, and Intel's IPsec library has the code for it. Here it becomes an OpenSSL
// provider, so that TLS itself stays OpenSSL's. From version 3.1 on OpenSSL has such code of its own, and
// CMakeLists.txt leaves this out.
#pragma once

#include <openssl/types.h>

namespace shoal::net {

/// The OpenSSL library in which TLS contexts are made: one that prefers the vector units where the processor
/// has them, otherwise nullptr, which is OpenSSL's word for the usual one. Made at the first call, kept for
/// ever. Any thread.
OSSL_LIB_CTX* tls_library();

}  // namespace shoal::net
