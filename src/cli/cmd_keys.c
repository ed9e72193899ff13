/* urza keys: manages the keys whose packages this user trusts. */
#include <dirent.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"

#define SUFFIX ".pub"
#define KEY_HEX_DIGITS 64

struct named_key {
    const char *name;
    char hex[KEY_HEX_DIGITS + 1];
};

struct key_list {
    VEC(struct named_key) keys;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named_key *)a)->name, ((const struct named_key *)b)->name);
}

/* Reads the key in folder/file, which keys_trusted has already checked. */
static bool read_key(struct cli *cli, const char *folder, const char *file, struct named_key *out,
                     struct error *err)
{
    struct strbuf path;
    char *text;
    size_t size;
    strbuf_init(&path, cli->arena);
    strbuf_printf(&path, "%s/%s", folder, file);
    if (!file_read(path.data, 4096, &text, &size, err))
        return false;
    out->name = arena_strndup(cli->arena, file, strlen(file) - strlen(SUFFIX));
    snprintf(out->hex, sizeof out->hex, "%s", text);
    free(text);
    return true;
}

static bool is_key_file(const char *file)
{
    size_t size = strlen(file), suffix = strlen(SUFFIX);
    return file[0] != '.' && size > suffix && strcmp(file + size - suffix, SUFFIX) == 0;
}

static bool read_list(struct cli *cli, struct key_list *list, struct error *err)
{
    struct trusted_keys checked;
    struct strbuf folder;
    strbuf_init(&folder, cli->arena);
    strbuf_printf(&folder, "%s/keys/trusted", cli->home);
    if (!keys_trusted(cli->home, cli->arena, &checked, err))
        return false;
    DIR *dir = opendir(folder.data);
    if (!dir)
        return errno == ENOENT ||
               fail(err, ERR_IO, "cannot open '%s': %s", folder.data, strerror(errno));
    bool ok = true;
    for (const struct dirent *file; ok && (file = readdir(dir)) != NULL;) {
        struct named_key key;
        if (!is_key_file(file->d_name))
            continue;
        ok = read_key(cli, folder.data, file->d_name, &key, err);
        if (ok)
            VEC_PUSH(cli->arena, &list->keys, key);
    }
    closedir(dir);
    if (ok && list->keys.count > 0)
        qsort(list->keys.items, list->keys.count, sizeof list->keys.items[0], compare_names);
    return ok;
}

static bool list(struct cli *cli, struct error *err)
{
    struct key_list found = {0};
    if (!read_list(cli, &found, err))
        return false;
    json_t *keys = json_array();
    for (uint32_t i = 0; i < found.keys.count; i++) {
        const struct named_key *key = &found.keys.items[i];
        if (!cli->json)
            report_lines(stdout, "%s  %s\n", key->hex, report_word(cli, key->name));
        json_array_append_new(
            keys, json_pack("{s:o, s:s}", "name", report_text(key->name), "key", key->hex));
    }
    json_t *object = json_pack("{s:o}", "keys", keys);
    if (cli->json)
        report_json(object);
    else
        json_decref(object);
    return true;
}

static bool show(struct cli *cli, struct error *err)
{
    struct signing_key key;
    char hex[KEY_HEX_DIGITS + 1];
    if (!keys_open(cli->home, &key, err))
        return false;
    hex_encode(key.public_key, sizeof key.public_key, hex);
    OPENSSL_cleanse(&key, sizeof key);
    if (cli->json)
        report_json(json_pack("{s:s}", "key", hex));
    else
        puts(hex);
    return true;
}

static bool trust(struct cli *cli, const char *name, const char *hex, struct error *err)
{
    uint8_t key[32];
    if (strlen(hex) != KEY_HEX_DIGITS || !hex_decode(hex, key, sizeof key))
        return fail(err, ERR_USAGE, "'%s' is no public key of 64 lower-case hex digits", hex);
    if (!keys_trust(cli->home, name, key, err))
        return false;
    if (cli->json)
        report_json(json_pack("{s:s, s:s}", "trusted", name, "key", hex));
    return true;
}

static bool distrust(struct cli *cli, const char *name, struct error *err)
{
    if (!keys_distrust(cli->home, name, err))
        return false;
    if (cli->json)
        report_json(json_pack("{s:s}", "distrusted", name));
    return true;
}

bool cmd_keys(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct words words = {.most = 3};
    const struct option_row rows[] = {{0}};
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    if (!cli->home)
        return fail(err, ERR_USAGE, "no folder for keys: set URZA_HOME");
    uint32_t count = 0;
    while (words.items[count])
        count++;
    const char *verb = count > 0 ? words.items[0] : "list";
    if (count <= 1 && strcmp(verb, "list") == 0)
        return list(cli, err);
    if (count == 1 && strcmp(verb, "show") == 0)
        return show(cli, err);
    if (count == 3 && strcmp(verb, "trust") == 0)
        return trust(cli, words.items[1], words.items[2], err);
    if (count == 2 && strcmp(verb, "distrust") == 0)
        return distrust(cli, words.items[1], err);
    return fail(err, ERR_USAGE, "usage: urza %s %s", cli->command->name, cli->command->usage);
}
