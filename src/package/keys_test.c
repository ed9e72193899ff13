#include "package/test_util.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

struct fixture {
    struct arena arena;
    char home[64];
    struct error err;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.home = "/tmp/urza-keys-XXXXXX"};
    arena_init(&f.arena);
    *state = &f;
    return mkdtemp(f.home) ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", f->home);
    arena_release(&f->arena);
    return system(command);
}

static const char *in_home(struct fixture *f, const char *name)
{
    struct strbuf path;
    strbuf_init(&path, &f->arena);
    strbuf_printf(&path, "%s/%s", f->home, name);
    return path.data;
}

static void makes_one_key(void **state)
{
    struct fixture *f = *state;
    struct signing_key first, second;
    struct stat info;
    must(keys_open(f->home, &first, &f->err), &f->err);
    assert_int_equal(stat(in_home(f, "keys/signing.pem"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    must(keys_open(f->home, &second, &f->err), &f->err);
    assert_memory_equal(&first, &second, sizeof first);
    uint8_t public_key[32];
    must(sign_public(first.private_key, public_key, &f->err), &f->err);
    assert_memory_equal(public_key, first.public_key, 32);
    char *text;
    size_t size;
    must(file_read(in_home(f, "keys/signing.pem"), 4096, &text, &size, &f->err), &f->err);
    assert_non_null(strstr(text, "BEGIN PRIVATE KEY"));
    free(text);
}

/* Whether the bytes occur anywhere in the memory of a process. */
static bool has_bytes(int pid, const void *bytes, size_t size)
{
    char path[64], line[512];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int memory = open(path, O_RDONLY);
    while (maps && memory >= 0 && fgets(line, sizeof line, maps)) {
        unsigned long long begin, end;
        if (sscanf(line, "%llx-%llx rw", &begin, &end) != 2 || strstr(line, " rw") == NULL)
            continue;
        size_t length = (size_t)(end - begin);
        char *copy = length < (size_t)1 << 28 ? malloc(length) : NULL;
        ssize_t n = copy ? pread(memory, copy, length, (off_t)begin) : -1;
        found = found || (n > 0 && memmem(copy, (size_t)n, bytes, size) != NULL);
        free(copy);
    }
    if (maps)
        fclose(maps);
    close(memory);
    return found;
}

/* Makes the key, opens it again and signs; then waits while its memory is searched. */
static void use_key(struct fixture *f, int ready)
{
    static const char known[] = "a text that is found";
    char *shown = strdup(known); /* copied to writable memory, which the search covers */
    struct signing_key key;
    uint8_t signature[ED25519_SIGNATURE_BYTES];
    assert_non_null(shown);
    for (int i = 0; i < 2; i++) {
        bool ok = keys_open(f->home, &key, &f->err) &&
                  sign_message(key.private_key, "message", 7, signature, &f->err);
        OPENSSL_cleanse(&key, sizeof key);
        (void)!write(ready, ok ? "y" : "n", 1);
    }
    for (;;)
        pause();
}

/* Copies of the key in memory would be inherited by a process that is forked later. */
static void nothing_is_left_of_the_key(void **state)
{
    struct fixture *f = *state;
    struct signing_key key;
    int ready[2];
    char said[2], *pem;
    size_t size;
    uint8_t expanded[64], swapped[32];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0)
        use_key(f, ready[1]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(read(ready[0], &said[i], 1), 1);
    assert_memory_equal(said, "yy", 2);
    must(keys_open(f->home, &key, &f->err), &f->err);
    must(file_read(in_home(f, "keys/signing.pem"), 4096, &pem, &size, &f->err), &f->err);
    assert_int_equal(EVP_Digest(key.private_key, 32, expanded, NULL, EVP_sha512(), NULL), 1);
    for (int i = 0; i < 32; i++) /* the byte order in which SHA-512 loads it into words */
        swapped[i] = key.private_key[i / 8 * 8 + 7 - i % 8];
    bool looked = has_bytes(pid, "a text that is found", 20);
    bool found = has_bytes(pid, key.private_key, 16) || has_bytes(pid, key.private_key + 16, 16) ||
                 has_bytes(pid, swapped, 16) || has_bytes(pid, pem + 28 + 24, 40) ||
                 has_bytes(pid, expanded + 1, 16) || has_bytes(pid, expanded + 32, 16);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    free(pem);
    if (!looked)
        print_message("skipped: the memory of a child cannot be read here\n");
    else if (!URZA_SANITIZED) /* the sanitizer keeps freed memory */
        assert_false(found);
}

static void processes_agree_on_the_first_key(void **state)
{
    struct fixture *f = *state;
    enum { CHILDREN = 6 };
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct signing_key key = {0};
            bool ok =
                keys_open(f->home, &key, &f->err) && write(pipes[1], key.public_key, 32) == 32;
            _exit(ok ? 0 : 1);
        }
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    uint8_t keys[CHILDREN][32];
    assert_int_equal(read(pipes[0], keys, sizeof keys), sizeof keys);
    for (int i = 1; i < CHILDREN; i++)
        assert_memory_equal(keys[0], keys[i], 32);
    close(pipes[0]);
    close(pipes[1]);
}

static void refuses_bad_key_files(void **state)
{
    struct fixture *f = *state;
    struct signing_key key;
    struct trusted_keys trusted;
    must(keys_open(f->home, &key, &f->err), &f->err);
    const char *path = in_home(f, "keys/signing.pem");
    assert_int_equal(chmod(path, 0640), 0);
    must_fail(keys_open(f->home, &key, &f->err), &f->err, ERR_SIGNATURE, "0600");
    must_fail(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err, ERR_SIGNATURE, "0600");
    /* An X25519 key: the right format, the wrong algorithm. */
    static const char other[] = "-----BEGIN PRIVATE KEY-----\n"
                                "MC4CAQAwBQYDK2VuBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq\n"
                                "-----END PRIVATE KEY-----\n";
    static const char *const bad[] = {"", "garbage", other};
    for (size_t i = 0; i < 3; i++) {
        must(file_write_atomic(path, bad[i], strlen(bad[i]), 0600, &f->err), &f->err);
        must_fail(keys_open(f->home, &key, &f->err), &f->err, ERR_SIGNATURE, "no Ed25519 key");
    }
}

static bool trusts(const struct trusted_keys *trusted, const uint8_t key[32])
{
    for (uint32_t i = 0; i < trusted->count; i++)
        if (memcmp(trusted->keys[i], key, 32) == 0)
            return true;
    return false;
}

static void trust_and_distrust(void **state)
{
    struct fixture *f = *state;
    struct trusted_keys trusted;
    struct signing_key local;
    must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
    assert_int_equal(trusted.count, 0);
    assert_int_not_equal(access(in_home(f, "keys"), F_OK), 0); /* reading the trusted keys creates
                                                                  nothing */

    const uint8_t a[32] = {1}, b[32] = {2};
    must(keys_trust(f->home, "alice", a, &f->err), &f->err);
    must(keys_trust(f->home, "bob.2", b, &f->err), &f->err);
    must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
    assert_int_equal(trusted.count, 2);
    assert_true(trusts(&trusted, a) && trusts(&trusted, b));

    must(keys_open(f->home, &local, &f->err), &f->err);
    must(keys_trust(f->home, "alice", b, &f->err), &f->err); /* replaces */
    must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
    assert_int_equal(trusted.count, 3);
    assert_true(trusts(&trusted, local.public_key) && !trusts(&trusted, a));

    must(keys_distrust(f->home, "alice", &f->err), &f->err);
    must(keys_distrust(f->home, "bob.2", &f->err), &f->err);
    must_fail(keys_distrust(f->home, "alice", &f->err), &f->err, ERR_NOT_FOUND, "alice");
    must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
    assert_int_equal(trusted.count, 1);
}

static void refuses_bad_names_and_files(void **state)
{
    struct fixture *f = *state;
    struct trusted_keys trusted;
    const uint8_t key[32] = {1};
    static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "../a", "a b", "a\n"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        must_fail(keys_trust(f->home, names[i], key, &f->err), &f->err, ERR_USAGE, "no name");
        must_fail(keys_distrust(f->home, names[i], &f->err), &f->err, ERR_USAGE, "no name");
    }
    must(keys_trust(f->home, "alice", key, &f->err), &f->err);
    must(file_write_atomic(in_home(f, "keys/trusted/README"), "x", 1, 0644, &f->err), &f->err);
    must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
    assert_int_equal(trusted.count, 1);
    char hex[66];
    hex_encode(key, 32, hex);
    const char *path = in_home(f, "keys/trusted/mallory.pub");
    must(file_write_atomic(path, hex, 63, 0644, &f->err), &f->err);
    must_fail(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err, ERR_SIGNATURE,
              "mallory.pub");
    must(file_write_atomic(path, hex, 64, 0644, &f->err), &f->err); /* no line end: accepted */
    must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
    assert_int_equal(trusted.count, 2);

    char deep[5000];
    memset(deep, 'd', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    must_fail(keys_trusted(deep, &f->arena, &trusted, &f->err), &f->err, ERR_LIMIT, "too long");
    struct signing_key local;
    must_fail(keys_open("/dev/null/home", &local, &f->err), &f->err, ERR_IO, "/dev/null");
}

static void limits_the_number_of_keys(void **state)
{
    struct fixture *f = *state;
    struct trusted_keys trusted;
    const uint8_t key[32] = {1};
    must(keys_trust(f->home, "k0", key, &f->err), &f->err);
    for (int i = 1; i <= 1024; i++) {
        char name[64];
        snprintf(name, sizeof name, "keys/trusted/k%d.pub", i);
        assert_int_equal(link(in_home(f, "keys/trusted/k0.pub"), in_home(f, name)), 0);
    }
    must_fail(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err, ERR_LIMIT, "1024");
    must(keys_distrust(f->home, "k0", &f->err), &f->err);
    must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
    assert_int_equal(trusted.count, 1024);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Anyone who may write to a key file, or to a folder above it, could have replaced the key. */
static void places_belong_to_the_user(void **state)
{
    struct fixture *f = *state;
    static const char *const places[] = {"", "keys", "keys/trusted", "keys/trusted/a.pub",
                                         "keys/signing.pem"};
    static const mode_t modes[] = {S_IWGRP, S_IWOTH};
    static const uint8_t public_key[32] = {9};
    struct signing_key key;
    struct trusted_keys trusted;
    must(keys_open(f->home, &key, &f->err), &f->err);
    must(keys_trust(f->home, "a", public_key, &f->err), &f->err);
    for (size_t i = 0; i < 2 * (sizeof places / sizeof places[0]); i++) {
        const char *path = i < 2 ? f->home : in_home(f, places[i / 2]);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(chmod(path, (info.st_mode & 07777) | modes[i % 2]), 0);
        bool ok = keys_trusted(f->home, &f->arena, &trusted, &f->err);
        must_fail(ok, &f->err, ERR_SIGNATURE, "others may write to '");
        assert_non_null(strstr(f->err.message, path));
        assert_non_null(strstr(f->err.message, "chmod go-w"));
        bool folder = S_ISDIR(info.st_mode), own = i / 2 == 4;
        if (folder || own)
            must_fail(keys_open(f->home, &key, &f->err), &f->err, ERR_SIGNATURE, "write");
        if (folder)
            must_fail(keys_trust(f->home, "b", public_key, &f->err), &f->err, ERR_SIGNATURE,
                      "write");
        assert_int_equal(chmod(path, info.st_mode & 07777), 0);
        must(keys_trusted(f->home, &f->arena, &trusted, &f->err), &f->err);
        assert_int_equal(trusted.count, 2);
    }
    if (geteuid() != 0)
        return; /* only root can change a file's owner */
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_int_equal(chown(in_home(f, places[i]), 65534, (gid_t)-1), 0);
        bool ok = keys_trusted(f->home, &f->arena, &trusted, &f->err);
        must_fail(ok, &f->err, ERR_SIGNATURE, "belongs to another user (65534)");
        assert_int_equal(chown(in_home(f, places[i]), 0, (gid_t)-1), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_left_of_the_key),       TEST(makes_one_key),
        TEST(processes_agree_on_the_first_key), TEST(refuses_bad_key_files),
        TEST(places_belong_to_the_user),        TEST(trust_and_distrust),
        TEST(refuses_bad_names_and_files),      TEST(limits_the_number_of_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
