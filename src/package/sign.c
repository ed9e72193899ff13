/* Ed25519 through libcrypto. Signatures are deterministic (RFC 8032), so a signed package is as
 * reproducible as an unsigned one. A wrong signature is a result, not an internal failure, so it
 * must leave nothing in libcrypto's error queue, which the host may read. libcrypto wipes key
 * material in memory that it frees, but not on the stack; the stack is wiped here, since a process
 * that is forked later has a copy of it. */
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/error.h"
#include "base/hash.h"
#include "package/package_priv.h"

bool sign_public(const uint8_t private_key[32], uint8_t out_public_key[32], struct error *err)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private_key, 32);
    size_t size = 32;
    bool ok = key && EVP_PKEY_get_raw_public_key(key, out_public_key, &size) == 1 && size == 32;
    EVP_PKEY_free(key);
    sign_wipe_stack();
    return ok || fail(err, ERR_NOMEM, "libcrypto gives no public key for a private one");
}

bool sign_message(const uint8_t private_key[32], const void *message, size_t size,
                  uint8_t out_signature[ED25519_SIGNATURE_BYTES], struct error *err)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private_key, 32);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t length = ED25519_SIGNATURE_BYTES;
    bool ok = key && context && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestSign(context, out_signature, &length, message, size) == 1 &&
              length == ED25519_SIGNATURE_BYTES;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    sign_wipe_stack();
    return ok || fail(err, ERR_NOMEM, "libcrypto does not sign");
}

/* 1: it fits; 0: it does not, or there was no memory to tell, which libcrypto need not say; below:
 * there was none. */
static int verify_once(const uint8_t public_key[32], const void *message, size_t size,
                       const uint8_t signature[ED25519_SIGNATURE_BYTES])
{
    ERR_set_mark();
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, 32);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool able = key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1;
    int found =
        able ? EVP_DigestVerify(context, signature, ED25519_SIGNATURE_BYTES, message, size) : -1;
    ERR_pop_to_mark();
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return found == 1 ? 1 : able ? 0 : -1;
}

/* Whether a signature is found right that is: test 1 of RFC 8032, section 7.1. */
static bool can_verify(void)
{
    static const char key_hex[] =
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    static const char signature_hex[] =
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    uint8_t key[32], signature[ED25519_SIGNATURE_BYTES];
    return hex_decode(key_hex, key, sizeof key) &&
           hex_decode(signature_hex, signature, sizeof signature) &&
           verify_once(key, "", 0, signature) == 1;
}

bool sign_verify(const uint8_t public_key[32], const void *message, size_t size,
                 const uint8_t signature[ED25519_SIGNATURE_BYTES], struct error *err)
{
    int found = verify_once(public_key, message, size, signature);
    if (found == 0) /* once more, between proofs that there is memory for it */
        found = can_verify() ? verify_once(public_key, message, size, signature) : -1;
    if (found == 0 && !can_verify())
        found = -1;
    if (found < 0)
        return fail(err, ERR_NOMEM, "libcrypto does not verify");
    return found == 1 ||
           fail(err, ERR_SIGNATURE, "the signature does not fit manifest and evidence");
}
