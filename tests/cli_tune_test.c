/* Tuning from the command line: what is measured is found again by the next compilation, can be
 * carried elsewhere, and damage costs a warning. Nothing here expects a speed. */
#include "cli_util.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

static size_t list_size(struct fixture *f)
{
    json_t *list = answer(f, "config list --json");
    size_t size = json_array_size(list);
    json_decref(list);
    return size;
}

static void tuned_is_used(void **state)
{
    struct fixture *f = *state;
    compile(f, blueprint_mlp, "");
    assert_int_equal(list_size(f), 0);
    json_t *made = answer(f, "tune net.json --budget 0.5 --json");
    size_t kernels = (size_t)json_integer_value(member(made, "kernels"));
    assert_true(kernels >= 1);
    assert_int_equal(json_integer_value(member(made, "measured")), kernels);
    assert_int_equal(list_size(f), kernels);
    const char *key = json_string_value(member(json_array_get(member(made, "entries"), 0), "key"));
    struct strbuf line;
    strbuf_init(&line, &f->arena);
    strbuf_printf(&line, "config show %s", key);
    struct outcome shown = expect(f, ERR_NONE, line.data);
    assert_non_null(strstr(shown.out, "best"));
    assert_non_null(strstr(shown.out, "contract"));
    json_decref(made);

    made = answer(f, "tune net.urza --json"); /* the same kernels */
    assert_int_equal(json_integer_value(member(made, "measured")), 0);
    json_decref(made);
    compile(f, blueprint_mlp, "");
    expect(f, ERR_NONE, "verify net.urza");
}

static void entries_are_carried(void **state)
{
    struct fixture *f = *state;
    size_t size;
    compile(f, blueprint_mlp, " --record");
    size_t recorded = list_size(f);
    assert_true(recorded >= 1);
    expect(f, ERR_NONE, "tune --recorded --budget 0.3");
    expect(f, ERR_NONE, "config export all.txt");
    char *text = (char *)(uintptr_t)get(f, "all.txt", &size);
    json_t *count = answer(f, "config clear --json");
    assert_int_equal(json_integer_value(member(count, "forgotten")), recorded);
    json_decref(count);
    assert_int_equal(list_size(f), 0);
    text[size / 2] ^= 1;
    put(f, "bad.txt", text, size);
    refuse(f, ERR_JSON, "config import bad.txt --json");
    count = answer(f, "config import all.txt --json");
    assert_int_equal(json_integer_value(member(count, "imported")), recorded);
    json_decref(count);
    assert_int_equal(list_size(f), recorded);
}

static void damage_costs_a_warning(void **state)
{
    struct fixture *f = *state;
    glob_t found;
    size_t size;
    compile(f, blueprint_mlp, "");
    expect(f, ERR_NONE, "tune net.json --budget 0.2");
    assert_int_equal(glob(path_of(f, "home/cache/tuning/*.tuning"), 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    const char *name = strstr(found.gl_pathv[0], "home/");
    char *text = (char *)(uintptr_t)get(f, name, &size);
    text[size - 10] ^= 4;
    put(f, name, text, size);
    struct outcome compiled = expect(f, ERR_NONE, "compile net.json -o net.urza");
    assert_non_null(strstr(compiled.err, "warning"));
    assert_non_null(strstr(compiled.err, "damaged"));
    compiled = expect(f, ERR_NONE, "compile net.json -o net.urza");
    assert_null(strstr(compiled.err, "warning")); /* it has been put right */
    globfree(&found);
}

static void aggressive_measures(void **state)
{
    struct fixture *f = *state;
    compile(f, blueprint_sum, " --strategy aggressive --tune 0.5");
    assert_true(list_size(f) >= 1);
    expect(f, ERR_NONE, "verify net.urza");
}

static void wrong_lines_are_refused(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_sum, strlen(blueprint_sum));
    put(f, "no.json", "{", 1);
    refuse(f, ERR_USAGE, "tune --json");
    refuse(f, ERR_USAGE, "tune net.json --recorded --json");
    refuse(f, ERR_USAGE, "tune net.json --budget -1 --json");
    refuse(f, ERR_JSON, "tune no.json --json");
    refuse(f, ERR_NOT_FOUND, "tune none.json --json");
    refuse(f, ERR_TARGET, "tune net.json --target none --json");
    refuse(f, ERR_NOT_FOUND, "config show 0123456789 --json");
    refuse(f, ERR_NOT_FOUND, "config import none.txt --json");
    refuse(f, ERR_USAGE, "config clear 12 --json");
    refuse(f, ERR_USAGE, "config frob --json");
    refuse(f, ERR_USAGE, "compile net.json -o net.urza --tune 1 --json");
    json_t *schema = answer(f, "config schema --json");
    assert_true(json_array_size(schema) > 0);
    json_decref(schema);
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(tuned_is_used, build),           CLI_TEST(entries_are_carried, build),
        CLI_TEST(damage_costs_a_warning, build),  CLI_TEST(aggressive_measures, build),
        CLI_TEST(wrong_lines_are_refused, build),
    };
    return cmocka_run_group_tests_name("cli-tune", tests, NULL, NULL);
}
