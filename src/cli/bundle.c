/* Packages as commands use them: read, checked for trust, loaded by the public runtime, called with
 * tensors. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"

#define ALIGNMENT 64
#define HEAD_BYTES 64

size_t bundle_limit(const void *head, size_t size)
{
    return onnx_looks_like(head, size) || pt2_looks_like(head, size) ? LIMIT_MODEL_BYTES
                                                                     : LIMIT_JSON_BYTES;
}

const char *bundle_folder(struct cli *cli, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (strcmp(path, "-") == 0)
        return NULL;
    if (!slash)
        return ".";
    return slash == path ? "/" : arena_strndup(cli->arena, path, (size_t)(slash - path));
}

bool bundle_is_package(const char *path, bool *out, struct error *err)
{
    char head[HEAD_BYTES];
    size_t size;
    if (!file_peek(path, head, sizeof head, &size, err))
        return false;
    *out = package_looks_like(head, size);
    return true;
}

bool bundle_output(struct cli *cli, const char *file, const char *ending, const char **path,
                   struct error *err)
{
    struct stat source, there;
    struct strbuf name;
    const char *given = *path, *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file,
               *dot = strrchr(base, '.');
    strbuf_init(&name, cli->arena);
    if (!given && (strcmp(file, "-") == 0 || *base == '\0'))
        return fail(err, ERR_USAGE, "-o OUT says where the result goes");
    strbuf_add(&name, base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
    strbuf_puts(&name, ending);
    const char *out = given ? given : name.data;
    bool exists = stat(out, &there) == 0;
    if (exists && stat(file, &source) == 0 && source.st_dev == there.st_dev &&
        source.st_ino == there.st_ino)
        return fail(err, ERR_USAGE,
                    "the result would replace '%s', which is read: -o OUT says "
                    "where else it goes",
                    file);
    if (exists && S_ISDIR(there.st_mode))
        return fail(err, ERR_IO, "'%s' is a folder: -o OUT names a file", out);
    bool is_package = false;
    if (exists && !given && !bundle_is_package(out, &is_package, err))
        return false;
    if (exists && !given && !is_package)
        return fail(err, ERR_USAGE, "'%s' exists and is no package: -o %s replaces it", out, out);
    *path = out;
    return true;
}

const char *bundle_keys(struct cli *cli)
{
    struct strbuf path;
    strbuf_init(&path, cli->arena);
    strbuf_printf(&path, "%s/keys", cli->home ? cli->home : "");
    return cli->home ? path.data : NULL;
}

/* Reads a file to where it stays, so that a large one is not in memory twice. False where that
 * fails for any reason, such as that its size changes. */
static bool read_at_once(struct cli *cli, const char *path, size_t limit, const void **out_bytes,
                         size_t *out_size)
{
    struct error ignored;
    struct stat info;
    char more;
    int fd = file_open(path, &ignored);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &info) == 0 && info.st_size > 0 && (uint64_t)info.st_size <= limit;
    size_t size = ok ? (size_t)info.st_size : 0;
    void *bytes = ok ? arena_raw(cli->arena, size, ALIGNMENT) : NULL;
    ok = ok && file_read_all(fd, bytes, size) && !file_read_all(fd, &more, 1);
    close(fd);
    if (!ok)
        return false;
    *out_bytes = bytes;
    *out_size = size;
    return true;
}

bool bundle_read(struct cli *cli, const char *path, const void **out_bytes, size_t *out_size,
                 struct error *err)
{
    char head[HEAD_BYTES], *data;
    size_t size;
    if (!file_peek(path, head, sizeof head, &size, err))
        return false;
    if (size == sizeof head &&
        read_at_once(cli, path, bundle_limit(head, size), out_bytes, out_size))
        return true;
    if (!file_read(path, bundle_limit(head, size), &data, &size, err))
        return false;
    void *bytes = arena_alloc(cli->arena, size, ALIGNMENT);
    memcpy(bytes, data, size);
    free(data);
    *out_bytes = bytes;
    *out_size = size;
    return true;
}

static bool read_stdin(struct arena *arena, const char **out_text, size_t *out_size,
                       struct error *err)
{
    struct strbuf text;
    char part[16384];
    size_t limit = 0;
    strbuf_init(&text, arena);
    for (;;) {
        ssize_t n = read(STDIN_FILENO, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, ERR_IO, "cannot read standard input: %s", strerror(errno));
        if (n == 0)
            break;
        strbuf_add(&text, part, (size_t)n);
        limit = limit > 0 ? limit : bundle_limit(text.data, text.size_bytes);
        if (text.size_bytes > limit)
            return fail(err, ERR_LIMIT, "standard input has more than %zu bytes", limit);
    }
    *out_text = text.data;
    *out_size = text.size_bytes;
    return true;
}

bool bundle_read_source(struct cli *cli, const char *path, const char **out_text, size_t *out_size,
                        struct error *err)
{
    const void *bytes;
    if (strcmp(path, "-") == 0)
        return read_stdin(cli->arena, out_text, out_size, err);
    if (!bundle_read(cli, path, &bytes, out_size, err))
        return false;
    *out_text = bytes;
    return true;
}

bool bundle_trusted(struct cli *cli, const struct text_list *keys, struct trusted_keys *out,
                    struct error *err)
{
    struct trusted_keys local = {.count = 0};
    if (cli->home && !keys_trusted(cli->home, cli->arena, &local, err))
        return false;
    uint8_t(*all)[32] = arena_array(cli->arena, local.count + keys->texts.count, sizeof *all);
    if (local.count > 0)
        memcpy(all, local.keys, local.count * sizeof *all);
    for (uint32_t i = 0; i < keys->texts.count; i++) {
        const char *text = keys->texts.items[i];
        if (strlen(text) != 64 || !hex_decode(text, all[local.count + i], 32))
            return fail(err, ERR_USAGE, "'%s' is no public key of 64 lower-case hex digits", text);
    }
    *out = (struct trusted_keys){.keys = (const uint8_t(*)[32])all,
                                 .count = local.count + keys->texts.count};
    return true;
}

bool bundle_fail(const urza_error *from, struct error *err)
{
    bool known = from->code > ERR_NONE && from->code < ERR_COUNT;
    fail(err, known ? (enum error_code)from->code : ERR_BUG, "%s", from->message);
    return from->place[0] == '\0' ? false : fail_at(err, "%s", from->place);
}

bool bundle_prepare(struct cli *cli, const struct bundle_options *options, struct bundle *out,
                    urza_load_options *out_load, struct error *err)
{
    struct trusted_keys trusted;
    struct bundle bundle = {.module = NULL};
    if (!bundle_trusted(cli, options->keys, &trusted, err) ||
        !bundle_read(cli, options->path, &bundle.bytes, &bundle.size_bytes, err))
        return false;
    *out = bundle;
    *out_load = (urza_load_options){
        .trust = options->allow_unsigned ? URZA_TRUST_ALLOW_UNSIGNED : URZA_TRUST_REQUIRE,
        .trusted_keys = trusted.keys,
        .trusted_key_count = trusted.count,
        .threads = options->threads,
        .target = options->target,
    };
    return true;
}

bool bundle_open(struct cli *cli, const struct bundle_options *options, struct bundle *out,
                 struct error *err)
{
    struct bundle bundle;
    urza_load_options load;
    if (!bundle_prepare(cli, options, &bundle, &load, err))
        return false;
    urza_error problem = {.code = 0};
    if (urza_load_memory(bundle.bytes, bundle.size_bytes, &load, &bundle.module, &problem) != 0) {
        bundle_fail(&problem, err);
        return fail_at(err, "%s", options->path);
    }
    const uint8_t *text;
    size_t size;
    if (!package_entry(bundle.bytes, bundle.size_bytes, "graph", &text, &size, err) ||
        !graph_parse(&bundle.graph, cli->arena, (const char *)text, size, err)) {
        bundle_release(&bundle);
        return false;
    }
    *out = bundle;
    return true;
}

void bundle_release(struct bundle *bundle)
{
    urza_unload(bundle->module);
    bundle->module = NULL;
}
