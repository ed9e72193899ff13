/* urza remote: the commands against a registry of their own, with plain output, with --json, and
 * exit statuses by class. */
#include "cli_util.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/strbuf.h"
#include "support/served.h"

static struct served served;

static const char *line_of(struct fixture *f, const char *fmt, ...) URZA_PRINTF(2, 3);
static const char *line_of(struct fixture *f, const char *fmt, ...)
{
    char words[512];
    struct strbuf line;
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    strbuf_init(&line, &f->arena);
    strbuf_printf(&line, "remote %s --url %s", words, served.url);
    return line.data;
}

/* The first line of what a run says. */
static const char *said(struct fixture *f, const char *line)
{
    const char *out = expect(f, ERR_NONE, line).out;
    return arena_strndup(&f->arena, out, strcspn(out, "\n"));
}

static const char *text_of(const json_t *value, const char *key)
{
    return json_string_value(member(value, key));
}

static void trusting_compiling_fetching(void **state)
{
    struct fixture *f = *state;
    uint8_t key[32];
    char hex[65];
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    served_key(&served, NULL, key);
    hex_encode(key, sizeof key, hex);
    refuse(f, ERR_SIGNATURE, line_of(f, "compile net.json -o net.urza --json"));
    assert_false(exists(f, "net.urza"));
    refuse(f, ERR_SIGNATURE, line_of(f, "trust here %064d --json", 0));
    assert_non_null(strstr(expect(f, ERR_NONE, line_of(f, "trust here %s", hex)).out, hex));
    const char *id = said(f, line_of(f, "compile net.json -o net.urza --hint strategy=fast"));
    json_t *shown = answer(f, "inspect net.urza --json");
    assert_string_equal(text_of(shown, "kernel_id"), id);
    json_decref(shown);
    json_t *again =
        answer(f, line_of(f, "compile net.json --hint optimization_level=0 --hint strategy=fast "
                             "--json"));
    assert_string_not_equal(text_of(again, "kernel_id"), id);
    json_decref(again);
    expect(f, ERR_NONE, line_of(f, "alias best %s", id));
    expect(f, ERR_NONE, line_of(f, "fetch best -o best.urza"));
    expect(f, ERR_NONE, line_of(f, "fetch %s -o same.urza --check", id));
    shown = answer(f, "inspect same.urza --json"); /* its evidence may be newer by now */
    assert_string_equal(text_of(shown, "kernel_id"), id);
    json_decref(shown);
    expect(f, ERR_NONE, "verify best.urza --dims B=3");
}

static void listing_and_retiring(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_sum, strlen(blueprint_sum));
    const char *id = said(f, line_of(f, "compile net.json --hint strategy=fast"));
    assert_non_null(strstr(expect(f, ERR_NONE, line_of(f, "list")).out, id));
    assert_non_null(strstr(expect(f, ERR_NONE, line_of(f, "list kernels strategy=fast")).out, id));
    json_t *items = answer(f, line_of(f, "list jobs state=DONE limit=2 --json"));
    assert_true(json_is_array(member(items, "items")));
    json_decref(items);
    assert_non_null(strstr(expect(f, ERR_NONE, line_of(f, "show %s", id)).out, "VALIDATED"));
    assert_non_null(strstr(expect(f, ERR_NONE, line_of(f, "status")).out, "public_key"));
    expect(f, ERR_NONE, line_of(f, "retire %s", id));
    json_t *kernel = answer(f, line_of(f, "show %s --json", id));
    assert_string_equal(text_of(kernel, "status"), "RETIRED");
    json_decref(kernel);
    refuse(f, ERR_NOT_FOUND, line_of(f, "fetch %s -o x.urza --json", id));
    assert_false(exists(f, "x.urza"));
}

static void jobs(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_ir, strlen(blueprint_ir));
    const char *job = said(f, line_of(f, "compile net.json --async --hint strategy=fast"));
    const char *out = expect(f, ERR_NONE, line_of(f, "watch %s --timeout 100", job)).out;
    assert_non_null(strstr(out, "DONE"));
    assert_non_null(strstr(out, "made kernel-"));
    json_t *done = answer(f, line_of(f, "watch %s --json", job));
    assert_string_equal(text_of(done, "state"), "DONE");
    json_decref(done);
    refuse(f, ERR_CONFLICT, line_of(f, "cancel %s --json", job));
    refuse(f, ERR_NOT_FOUND, line_of(f, "watch job-0 --json"));
}

static void refusals(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    refuse(f, ERR_USAGE, line_of(f, "--json"));
    refuse(f, ERR_USAGE, line_of(f, "dance --json"));
    refuse(f, ERR_USAGE, line_of(f, "fetch --json"));
    refuse(f, ERR_USAGE, line_of(f, "fetch best --json"));
    refuse(f, ERR_USAGE, line_of(f, "compile net.json --hint x --json"));
    refuse(f, ERR_USAGE, line_of(f, "compile net.json -o x --async --json"));
    refuse(f, ERR_USAGE, line_of(f, "list nothing --json"));
    refuse(f, ERR_JSON, line_of(f, "list kernels color=red --json"));
    refuse(f, ERR_JSON, line_of(f, "compile net.json --hint wish=1 --json"));
    refuse(f, ERR_NOT_FOUND, line_of(f, "compile none.json --json"));
    refuse(f, ERR_NOT_FOUND, line_of(f, "status --token-file none --json"));
    refuse(f, ERR_CONNECTION, "remote status --url http://127.0.0.1:1 --timeout 2 --json");
    refuse(f, ERR_USAGE, "remote status --url ftp://127.0.0.1 --json");
}

static int start(void **state)
{
    (void)state;
    served_start(&served, getenv("URZA_BUILD_DIR"), NULL, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    served_remove(&served);
    return 0;
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(trusting_compiling_fetching, build),
        CLI_TEST(listing_and_retiring, build),
        CLI_TEST(jobs, build),
        CLI_TEST(refusals, build),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
