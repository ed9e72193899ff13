#include "package/test_util.h"

/* RFC 8032, section 7.1, tests 1 and 2. */
static const struct vector {
    const char *private_key, *public_key, *message, *signature;
} vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
};

static void agrees_with_the_rfc(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct vector *v = &vectors[i];
        uint8_t private_key[32], public_key[32], message[1], signature[64], made[64];
        struct error err;
        size_t size = strlen(v->message) / 2;
        assert_true(hex_decode(v->private_key, private_key, 32));
        assert_true(hex_decode(v->message, message, size));
        assert_true(hex_decode(v->signature, signature, 64));
        must(sign_public(private_key, public_key, &err), &err);
        char hex[65];
        hex_encode(public_key, 32, hex);
        assert_string_equal(hex, v->public_key);
        must(sign_message(private_key, message, size, made, &err), &err);
        assert_memory_equal(made, signature, 64);
        assert_true(sign_verify(public_key, message, size, signature, &err));
    }
}

static void refuses_every_flip(void **state)
{
    (void)state;
    struct error err;
    uint8_t private_key[32] = {7}, public_key[32], message[] = "message", signature[64];
    must(sign_public(private_key, public_key, &err), &err);
    must(sign_message(private_key, message, sizeof message, signature, &err), &err);
    struct {
        uint8_t *bytes;
        size_t size;
    } parts[] = {{public_key, 32}, {message, sizeof message}, {signature, 64}};
    for (size_t p = 0; p < 3; p++) {
        for (size_t bit = 0; bit < parts[p].size * 8; bit++) {
            parts[p].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_false(sign_verify(public_key, message, sizeof message, signature, &err));
            parts[p].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    assert_true(sign_verify(public_key, message, sizeof message, signature, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_rfc),
        cmocka_unit_test(refuses_every_flip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
