/* The command line of the training programs. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static int64_t number(const char *name, const char *text, int64_t least, int64_t most)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < least || value > most)
        die("%s: '%s' is no number from %lld to %lld", name, text, (long long)least,
            (long long)most);
    return value;
}

static float rate(const char *name, const char *text)
{
    char *end;
    float value = strtof(text, &end);
    if (end == text || *end || !(value >= 0) || isinf(value))
        die("%s: '%s' is no learning rate", name, text);
    return value;
}

static void set(struct options *out, const char *name, const char *value)
{
    if (!strcmp(name, "--steps"))
        out->steps = number(name, value, 0, INT32_MAX);
    else if (!strcmp(name, "--every"))
        out->every = number(name, value, 0, INT32_MAX);
    else if (!strcmp(name, "--batch"))
        out->batch = number(name, value, 1, 65536);
    else if (!strcmp(name, "--length"))
        out->length = number(name, value, 1, 65536);
    else if (!strcmp(name, "--threads"))
        out->threads = (uint32_t)number(name, value, 1, 256);
    else if (!strcmp(name, "--seed"))
        out->seed = (uint64_t)number(name, value, 0, INT64_MAX);
    else if (!strcmp(name, "--lr"))
        out->lr = rate(name, value);
    else if (!strcmp(name, "--checkpoint"))
        out->checkpoint = value;
    else if (!strcmp(name, "--resume"))
        out->resume = value;
    else if (!strcmp(name, "--svg"))
        out->svg = value;
    else if (!strcmp(name, "--losses"))
        out->losses = value;
    else
        die("%s: no such option", name);
}

static int digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static void parse_key(struct options *out, const char *text)
{
    for (int i = 0; i < 32; i++) {
        int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);
        if (low < 0)
            die("'%s' is no key: 64 hexadecimal digits, as `urza keys show` prints it", text);
        out->key[0][i] = (uint8_t)(high * 16 + low);
    }
    if (text[64])
        die("'%s' is no key: more than 64 digits", text);
}

void options_parse(struct options *out, int argc, char **argv, const char *usage)
{
    int i = 4;
    if (argc < 4 || argv[1][0] == '-') {
        fprintf(
            stderr,
            "Usage: %s\n"
            "    [--steps N] [--threads N] [--batch N] [--length N] [--lr X] [--seed N]\n"
            "    [--checkpoint FILE] [--every N] [--resume FILE] [--svg FILE] [--losses FILE]\n",
            usage);
        exit(64);
    }
    out->net = argv[1];
    out->step = argv[2];
    parse_key(out, argv[3]);
    out->files = argv + i;
    while (i < argc && strncmp(argv[i], "--", 2) != 0)
        i++;
    out->file_count = i - 4;
    out->threads = 1;
    out->seed = 1;
    for (; i < argc; i += 2) {
        if (i + 1 == argc)
            die("%s: a value is missing", argv[i]);
        set(out, argv[i], argv[i + 1]);
    }
}
