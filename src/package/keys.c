/* Keys in a folder: keys/signing.pem is PKCS #8, so that openssl can read it; keys/trusted holds a
 * file for each key that others sign with.
 *
 * Two processes may need the first key at once. Each writes its own to a temporary file and links
 * it to its final name, which only one can do; both then read what is there. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "package/package_priv.h"

#define PEM_MAX_BYTES 4096
#define NAME_MAX_BYTES 64
#define TRUSTED_MAX 1024
#define KEY_HEX_DIGITS 64

struct path {
    char text[4096];
};

static bool make_path(struct path *out, struct error *err, const char *fmt, ...) URZA_PRINTF(3, 4);
static bool make_path(struct path *out, struct error *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(out->text, sizeof out->text, fmt, args);
    va_end(args);
    return (length >= 0 && (size_t)length < sizeof out->text) ||
           fail(err, ERR_LIMIT, "the path of the key folder is too long");
}

/* Whoever can write to a key or its folder decides who is trusted. ERR_SIGNATURE. */
static bool check_place(const struct stat *info, const char *path, struct error *err)
{
    if (info->st_uid != geteuid() && info->st_uid != 0)
        return fail(err, ERR_SIGNATURE,
                    "'%s' belongs to another user (%ju), who decides what it says; chown it", path,
                    (uintmax_t)info->st_uid);
    if ((info->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail(err, ERR_SIGNATURE, "others may write to '%s'; chmod go-w it", path);
    return true;
}

/* The folders of the keys as far as they exist, from home on. */
static bool check_folders(const char *home, struct error *err)
{
    static const char *const inner[] = {"", "/keys", "/keys/trusted"};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        struct path path;
        struct stat info;
        if (!make_path(&path, err, "%s%s", home, inner[i]))
            return false;
        if (stat(path.text, &info) == 0 && !check_place(&info, path.text, err))
            return false;
    }
    return true;
}

/* Reads a small file whose place and mode are in order; forbidden: mode bits that it must not have.
 * The caller frees *out_text. */
static bool read_checked(const char *path, mode_t forbidden, char **out_text, size_t *out_size,
                         struct error *err)
{
    struct stat info;
    int fd = file_open(path, err);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &info) == 0 || fail(err, ERR_IO, "'%s': %s", path, strerror(errno));
    ok = ok && check_place(&info, path, err);
    if (ok && (info.st_mode & forbidden) != 0) {
        fail(err, ERR_SIGNATURE, "others may read it; its mode must be 0600");
        ok = fail_at(err, "%s", path);
    }
    ok = ok && file_read_open(fd, path, PEM_MAX_BYTES, out_text, out_size, err);
    close(fd);
    return ok;
}

/* private_key as PEM in memory of *out_pem, which the caller frees. */
static bool print_pem(const uint8_t private_key[32], BIO **out_pem, struct error *err)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private_key, 32);
    BIO *pem = BIO_new(BIO_s_secmem());
    bool ok = key && pem && PEM_write_bio_PKCS8PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) == 1;
    EVP_PKEY_free(key);
    if (ok) {
        *out_pem = pem;
        return true;
    }
    BIO_free(pem);
    return fail(err, ERR_NOMEM, "libcrypto does not write the signing key");
}

/* Never asks for a pass phrase: nobody may be there to answer. */
static int no_pass_phrase(char *buffer, int size, int writing, void *context)
{
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

static bool read_pem(const char *text, size_t size, struct signing_key *out, struct error *err)
{
    struct signing_key found;
    size_t private_bytes = 32, public_bytes = 32;
    ERR_set_mark();
    BIO *pem = BIO_new_mem_buf(text, (int)size);
    EVP_PKEY *key = pem ? PEM_read_bio_PrivateKey(pem, NULL, no_pass_phrase, NULL) : NULL;
    bool ok = key && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 &&
              EVP_PKEY_get_raw_private_key(key, found.private_key, &private_bytes) == 1 &&
              EVP_PKEY_get_raw_public_key(key, found.public_key, &public_bytes) == 1;
    EVP_PKEY_free(key);
    BIO_free(pem);
    ERR_pop_to_mark();
    if (ok)
        *out = found;
    OPENSSL_cleanse(&found, sizeof found);
    return ok || fail(err, ERR_SIGNATURE, "the file holds no Ed25519 key");
}

/* ERR_NOT_FOUND when there is no key yet. */
static bool read_key(const char *path, struct signing_key *out, struct error *err)
{
    char *text;
    size_t size;
    if (!read_checked(path, S_IRWXG | S_IRWXO, &text, &size, err))
        return false;
    bool ok = read_pem(text, size, out, err);
    OPENSSL_cleanse(text, size);
    free(text);
    return ok || fail_at(err, "%s", path);
}

/* Puts a new key at path unless one is there by now. */
static bool make_key(const char *path, struct error *err)
{
    uint8_t seed[32];
    uint64_t own; /* makes the temporary name ours alone */
    struct path temp;
    BIO *pem = NULL;
    if (RAND_priv_bytes(seed, sizeof seed) != 1 || RAND_bytes((uint8_t *)&own, sizeof own) != 1)
        return fail(err, ERR_IO, "libcrypto gives no random bytes");
    bool ok = make_path(&temp, err, "%s.%" PRIx64, path, own) && print_pem(seed, &pem, err);
    OPENSSL_cleanse(seed, sizeof seed);
    if (!ok)
        return false;
    char *text;
    long size = BIO_get_mem_data(pem, &text);
    ok = file_write_atomic(temp.text, text, (size_t)size, 0600, err);
    BIO_free(pem);
    if (!ok)
        return false;
    if (link(temp.text, path) != 0 && errno != EEXIST)
        ok = fail(err, ERR_IO, "cannot make '%s': %s", path, strerror(errno));
    unlink(temp.text);
    file_sync_folder_of(path);
    return ok;
}

bool keys_open(const char *home, struct signing_key *out, struct error *err)
{
    struct path folder, path;
    if (!make_path(&folder, err, "%s/keys", home) ||
        !make_path(&path, err, "%s/signing.pem", folder.text))
        return false;
    struct error missing;
    if (!check_folders(home, err))
        return false;
    if (read_key(path.text, out, &missing))
        return true;
    if (missing.code != ERR_NOT_FOUND) {
        *err = missing;
        return false;
    }
    return file_make_dirs(folder.text, 0700, err) && make_key(path.text, err) &&
           read_key(path.text, out, err);
}

/* A name that stays inside its folder and does not hide. */
static bool name_ok(const char *name)
{
    size_t size = strlen(name);
    return size <= NAME_MAX_BYTES && zip_name_ok(name, size) && !strchr(name, '/') &&
           name[0] != '.';
}

static bool trusted_path(const char *home, const char *name, struct path *out, struct error *err)
{
    if (!name_ok(name))
        return fail(err, ERR_USAGE, "'%s' is no name for a key: letters, digits, '.', '_', '-'",
                    name);
    return make_path(out, err, "%s/keys/trusted/%s.pub", home, name);
}

bool keys_trust(const char *home, const char *name, const uint8_t public_key[32], struct error *err)
{
    struct path folder, path;
    char hex[KEY_HEX_DIGITS + 2];
    if (!trusted_path(home, name, &path, err) || !check_folders(home, err) ||
        !make_path(&folder, err, "%s/keys/trusted", home) ||
        !file_make_dirs(folder.text, 0700, err))
        return false;
    hex_encode(public_key, 32, hex);
    hex[KEY_HEX_DIGITS] = '\n';
    return file_write_atomic(path.text, hex, KEY_HEX_DIGITS + 1, 0644, err);
}

bool keys_distrust(const char *home, const char *name, struct error *err)
{
    struct path path;
    if (!trusted_path(home, name, &path, err))
        return false;
    if (unlink(path.text) == 0)
        return true;
    return fail(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot remove '%s': %s", path.text,
                strerror(errno));
}

/* 64 hex digits, and at most one line end. */
static bool read_public(const char *path, uint8_t out[32], struct error *err)
{
    char *text;
    size_t size;
    if (!read_checked(path, 0, &text, &size, err))
        return false;
    if (size == KEY_HEX_DIGITS + 1 && text[KEY_HEX_DIGITS] == '\n')
        text[--size] = '\0';
    bool ok = size == KEY_HEX_DIGITS && hex_decode(text, out, 32);
    free(text);
    if (ok)
        return true;
    fail(err, ERR_SIGNATURE, "expected a public key of 64 hex digits");
    return fail_at(err, "%s", path);
}

static bool is_public(const char *file)
{
    size_t size = strlen(file);
    return file[0] != '.' && size > 4 && strcmp(file + size - 4, ".pub") == 0;
}

/* Adds the keys of the trusted folder, if there is one. */
static bool read_trusted(const char *folder, uint8_t (*keys)[32], uint32_t *count,
                         struct error *err)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ||
               fail(err, ERR_IO, "cannot open '%s': %s", folder, strerror(errno));
    bool ok = true;
    const struct dirent *file;
    while (ok && (file = readdir(dir)) != NULL) {
        struct path path;
        if (!is_public(file->d_name))
            continue;
        if (*count == TRUSTED_MAX)
            ok = fail(err, ERR_LIMIT, "more than %d trusted keys", TRUSTED_MAX);
        else
            ok = make_path(&path, err, "%s/%s", folder, file->d_name) &&
                 read_public(path.text, keys[*count], err);
        *count += ok;
    }
    closedir(dir);
    return ok;
}

bool keys_trusted(const char *home, struct arena *arena, struct trusted_keys *out,
                  struct error *err)
{
    struct path folder, path;
    struct signing_key local;
    struct error missing;
    uint8_t(*keys)[32] = arena_array(arena, TRUSTED_MAX, sizeof *keys);
    uint32_t count = 0;
    if (!make_path(&path, err, "%s/keys/signing.pem", home) ||
        !make_path(&folder, err, "%s/keys/trusted", home) || !check_folders(home, err))
        return false;
    if (read_key(path.text, &local, &missing)) {
        memcpy(keys[count++], local.public_key, 32);
        OPENSSL_cleanse(&local, sizeof local);
    } else if (missing.code != ERR_NOT_FOUND) {
        *err = missing;
        return false;
    }
    if (!read_trusted(folder.text, keys, &count, err))
        return false;
    *out = (struct trusted_keys){.keys = (const uint8_t(*)[32])keys, .count = count};
    return true;
}
