/* Keys in a folder: keys/signing.pem is PKCS #8, so that openssl can read it; keys/trusted holds
 * one file for each public key of somebody else that is trusted.
 *
 * The private key is parsed and written here, not by libcrypto, which would leave copies in memory
 * that it has freed. That is simple, since files of Ed25519 keys differ in 32 bytes only (RFC
 * 8410).
 *
 * Two processes may make the first key at the same time. Each writes its own to a temporary file
 * and links it to the final name, which only the first link can do; both then read the file of that
 * name. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/entropy.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "package/package_priv.h"

#define SMALL_FILE_BYTES 4096
#define NAME_MAX_BYTES 64
#define TRUSTED_MAX 1024
#define KEY_HEX_DIGITS 64

static const uint8_t der_head[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                   0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
static const char pem_head[] = "-----BEGIN PRIVATE KEY-----\n";
static const char pem_tail[] = "\n-----END PRIVATE KEY-----\n";
#define DER_BYTES (sizeof der_head + 32)
#define PEM_BYTES (sizeof pem_head - 1 + DER_BYTES / 3 * 4 + sizeof pem_tail - 1)

struct path {
    char text[4096];
};

struct small_file {
    size_t size;
    char text[SMALL_FILE_BYTES + 1]; /* not terminated */
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

/* Checks owner and mode of the key folders that exist, from home down. */
static bool check_folders(const char *home, struct error *err)
{
    static const char *const inner[] = {"", "/keys", "/keys/trusted"};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        struct path path;
        struct stat info;
        if (!make_path(&path, err, "%s%s", home, inner[i]))
            return false;
        if (stat(path.text, &info) == 0 && !file_is_ours(&info, path.text, err))
            return false;
    }
    return true;
}

/* Reads a small file after checking its owner and mode; forbidden: mode bits that it must not have.
 * The caller wipes *out, also after a failure. */
static bool read_checked(const char *path, mode_t forbidden, struct small_file *out,
                         struct error *err)
{
    struct stat info;
    int fd = file_open(path, err);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &info) == 0 || fail(err, ERR_IO, "'%s': %s", path, strerror(errno));
    ok = ok && file_is_ours(&info, path, err);
    if (ok && (info.st_mode & forbidden) != 0) {
        fail(err, ERR_SIGNATURE, "others may read it; its mode must be 0600");
        ok = fail_at(err, "%s", path);
    }
    out->size = ok ? (size_t)info.st_size : 0;
    if (ok && info.st_size > SMALL_FILE_BYTES)
        ok = fail(err, ERR_LIMIT, "'%s' is larger than %d bytes", path, SMALL_FILE_BYTES);
    ok = ok && (file_read_all(fd, out->text, out->size) ||
                fail(err, ERR_IO, "cannot read '%s': %s", path, strerror(errno)));
    close(fd);
    return ok;
}

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static void print_pem(const uint8_t private_key[32], char out[PEM_BYTES])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t der[DER_BYTES];
    char *at = out;
    memcpy(der, der_head, sizeof der_head);
    memcpy(der + sizeof der_head, private_key, 32);
    memcpy(at, pem_head, sizeof pem_head - 1);
    at += sizeof pem_head - 1;
    for (size_t i = 0; i < sizeof der; i += 3) {
        uint32_t three = (uint32_t)(der[i] << 16 | der[i + 1] << 8 | der[i + 2]);
        for (int shift = 18; shift >= 0; shift -= 6)
            *at++ = digits[three >> shift & 63];
    }
    memcpy(at, pem_tail, sizeof pem_tail - 1);
    OPENSSL_cleanse(der, sizeof der);
}

/* False if the text is not a PKCS #8 Ed25519 key. Line ends may be LF or CRLF. */
static bool parse_pem(const struct small_file *file, uint8_t out[32])
{
    uint8_t der[DER_BYTES];
    size_t head = sizeof pem_head - 2, digits = 0, at = head;
    uint32_t bits = 0;
    if (file->size < head || memcmp(file->text, pem_head, head) != 0)
        return false;
    for (; at < file->size && file->text[at] != '-'; at++) {
        int value = base64_value(file->text[at]);
        if (file->text[at] == '\n' || file->text[at] == '\r')
            continue;
        if (value < 0 || digits == DER_BYTES / 3 * 4)
            break;
        bits = bits << 6 | (uint32_t)value;
        digits++;
        for (size_t i = 0; digits % 4 == 0 && i < 3; i++)
            der[digits / 4 * 3 - 3 + i] = (uint8_t)(bits >> (16 - 8 * i));
    }
    bool ok = digits == DER_BYTES / 3 * 4 && file->size - at >= sizeof pem_tail - 3 &&
              memcmp(file->text + at, pem_tail + 1, sizeof pem_tail - 3) == 0 &&
              memcmp(der, der_head, sizeof der_head) == 0;
    if (ok)
        memcpy(out, der + sizeof der_head, 32);
    OPENSSL_cleanse(der, sizeof der);
    OPENSSL_cleanse(&bits, sizeof bits);
    return ok;
}

/* ERR_NOT_FOUND when there is no key yet. */
static bool read_key(const char *path, struct signing_key *out, struct error *err)
{
    struct small_file file;
    struct signing_key found;
    bool read = read_checked(path, S_IRWXG | S_IRWXO, &file, err);
    bool ok = read && (parse_pem(&file, found.private_key)
                           ? sign_public(found.private_key, found.public_key, err)
                           : fail(err, ERR_SIGNATURE, "the file holds no Ed25519 key"));
    if (ok)
        *out = found;
    OPENSSL_cleanse(&file, sizeof file);
    OPENSSL_cleanse(&found, sizeof found);
    sign_wipe_stack();
    return ok || (read && fail_at(err, "%s", path));
}

/* Makes a new key at path, unless another process has made one meanwhile. */
static bool make_key(const char *path, struct error *err)
{
    uint8_t seed[32];
    char pem[PEM_BYTES];
    uint64_t own; /* random, to make the temporary name unique */
    struct path temp;
    bool ok = entropy_fill(seed, sizeof seed, err) && entropy_fill(&own, sizeof own, err);
    print_pem(seed, pem);
    ok = ok && make_path(&temp, err, "%s.%" PRIx64, path, own) &&
         file_write_atomic(temp.text, pem, sizeof pem, 0600, err);
    OPENSSL_cleanse(seed, sizeof seed);
    OPENSSL_cleanse(pem, sizeof pem);
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

/* A name without a folder part that does not begin with a dot. */
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

/* Reads a file of 64 hex digits, and at most one line end. */
static bool read_public(const char *path, uint8_t out[32], struct error *err)
{
    struct small_file file;
    if (!read_checked(path, 0, &file, err))
        return false;
    if (file.size == KEY_HEX_DIGITS + 1 && file.text[KEY_HEX_DIGITS] == '\n')
        file.size--;
    file.text[file.size] = '\0';
    if (file.size == KEY_HEX_DIGITS && hex_decode(file.text, out, 32))
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
