/* Tuning entries, as a cache file has them and as a record of a kernel. The first byte says what
 * the rest is: a whole text; lines that get the checksums they need; a record. What is imported is
 * exported as a text that imports as the same. */
#include <string.h>

#include "base/hash.h"
#include "base/strbuf.h"
#include "fuzz.h"
#include "urza/tune.h"

static void add_line(struct strbuf *out, const char *text, size_t size)
{
    char sum[SHA256_HEX_BYTES];
    sha256_hex(text, size, sum);
    strbuf_printf(out, "%s ", sum);
    strbuf_add(out, text, size);
    strbuf_puts(out, "\n");
}

static void with_checksums(struct strbuf *out, const char *text, size_t size)
{
    struct strbuf first;
    uint32_t lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    strbuf_init(&first, out->arena);
    strbuf_printf(&first, "urza.tuning/1 entries %u", lines);
    add_line(out, first.data, first.size_bytes);
    for (const char *end = text + size, *at = text; at <= end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        add_line(out, at, (size_t)(stop - at));
        at = stop + 1;
    }
}

static void import(const char *text, size_t size)
{
    urza_tuner *first, *second;
    char *once, *twice;
    fuzz_require(urza_tuner_open(NULL, &first, NULL) == 0);
    fuzz_require(urza_tuner_open(NULL, &second, NULL) == 0);
    if (urza_tuner_import(first, text, size, NULL, NULL) == 0) {
        fuzz_require(urza_tuner_export(first, &once, NULL) == 0);
        fuzz_require(urza_tuner_import(second, once, strlen(once), NULL, NULL) == 0);
        fuzz_require(urza_tuner_export(second, &twice, NULL) == 0);
        fuzz_require(strcmp(once, twice) == 0);
        urza_tune_free(once);
        urza_tune_free(twice);
    }
    urza_tuner_close(first);
    urza_tuner_close(second);
}

static void choose(const char *record)
{
    urza_tuner *tuner;
    char *config;
    fuzz_require(urza_tuner_open(NULL, &tuner, NULL) == 0);
    if (urza_tuner_choose(tuner, record, &config, NULL, NULL) == 0)
        urza_tune_free(config);
    urza_tuner_close(tuner);
}

static void body(struct arena *arena, const uint8_t *data, size_t size)
{
    struct strbuf text;
    if (size == 0)
        return;
    strbuf_init(&text, arena);
    if (data[0] % 3 == 1)
        with_checksums(&text, (const char *)data + 1, size - 1);
    else
        strbuf_add(&text, data + 1, size - 1);
    if (data[0] % 3 == 2)
        choose(text.data);
    else
        import(text.data, text.size_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_with_arena(body, data, size);
    return 0;
}
