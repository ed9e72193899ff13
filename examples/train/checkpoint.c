/* Checkpoints in the safetensors format: the length of a header, the header in JSON, the tensors
 * one behind the other. The header of a run never changes but for the checksum of what follows it,
 * so a file fits if its header is the one that this run would write. */
#include "checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEGIN "{\"__metadata__\":{\"checksum\":\""
#define DIGITS 16
#define RUN "\",\"run\":\""

uint64_t checksum(uint64_t sum, const void *data, size_t size)
{
    const unsigned char *at = data;
    sum = sum ? sum : 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ at[i]) * 0x100000001b3u;
    return sum;
}

struct text {
    char *data;
    size_t size, room;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    for (;;) {
        va_list args;
        va_start(args, format);
        int size = vsnprintf(text->data + text->size, text->room - text->size, format, args);
        va_end(args);
        if (size < 0)
            die("a checkpoint's header cannot be written");
        if ((size_t)size < text->room - text->size) {
            text->size += (size_t)size;
            return;
        }
        text->room = 2 * text->room + (size_t)size + 64;
        text->data = realloc(text->data, text->room);
        if (!text->data)
            die("no memory for a checkpoint's header");
    }
}

static void add_name(struct text *text, const char *name)
{
    for (; *name; name++)
        add(text,
            (unsigned char)*name < 32       ? "\\u%04x"
            : *name == '"' || *name == '\\' ? "\\%c"
                                            : "%c",
            *name);
}

static void add_tensor(struct text *text, const char *name, const DLTensor *tensor, size_t at)
{
    const char *letter = tensor->dtype.code == kDLFloat    ? "F"
                         : tensor->dtype.code == kDLBfloat ? "BF"
                         : tensor->dtype.code == kDLInt    ? "I"
                                                           : "U";
    add(text, ",\"");
    add_name(text, name);
    add(text, "\":{\"dtype\":\"%s%d\",\"shape\":[", letter, tensor->dtype.bits);
    for (int i = 0; i < tensor->ndim; i++)
        add(text, "%s%" PRId64, i ? "," : "", tensor->shape[i]);
    add(text, "],\"data_offsets\":[%zu,%zu]}", at, at + tensor_bytes(tensor));
}

struct header {
    struct text text;
    size_t data_bytes;
    const char *last; /* name of the last tensor */
};

/* With a checksum of zeros; no tensor is added behind `most` bytes. */
static struct header header(const struct trainer *t, const char *run, size_t most)
{
    struct header head = {0};
    add(&head.text, BEGIN "%0*d" RUN "%s\"}", DIGITS, 0, run);
    for (uint32_t i = 0; i < t->count && head.text.size <= most; i++)
        if (t->updated[i]) {
            head.last = urza_input_info(t->step, i)->name;
            add_tensor(&head.text, head.last, &t->inputs[i], head.data_bytes);
            head.data_bytes += tensor_bytes(&t->inputs[i]);
        }
    add(&head.text, "}");
    while (head.text.size % 8 != 0)
        add(&head.text, " ");
    return head;
}

static void put_length(unsigned char *bytes, uint64_t length)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(length >> 8 * i);
}

static void put_checksum(char *head, uint64_t sum)
{
    char digits[DIGITS + 1];
    snprintf(digits, sizeof digits, "%0*" PRIx64, DIGITS, sum);
    memcpy(head + sizeof BEGIN - 1, digits, DIGITS);
}

static bool write_all(FILE *file, const struct trainer *t, const struct text *head)
{
    unsigned char length[8];
    put_length(length, head->size);
    bool ok = fwrite(length, 8, 1, file) == 1 && fwrite(head->data, head->size, 1, file) == 1;
    for (uint32_t i = 0; ok && i < t->count; i++)
        ok = !t->updated[i] || fwrite(t->inputs[i].data, tensor_bytes(&t->inputs[i]), 1, file) == 1;
    return fflush(file) == 0 && fsync(fileno(file)) == 0 && ok;
}

/* The new file; its path is in *out. What is there and is no file of its own, such as a device or a
 * link, is not replaced. */
static FILE *open_aside(const char *path, struct text *out)
{
    struct stat there;
    if (lstat(path, &there) == 0 && !S_ISREG(there.st_mode))
        die("%s: is no plain file, which a checkpoint could replace", path);
    *out = (struct text){0};
    add(out, "%s.new", path);
    FILE *file = fopen(out->data, "wb");
    if (!file)
        die("%s: %s", out->data, strerror(errno));
    return file;
}

void checkpoint_try(const char *path)
{
    struct text aside;
    fclose(open_aside(path, &aside));
    remove(aside.data);
    free(aside.data);
}

void checkpoint_save(const char *path, const struct trainer *t, const char *run)
{
    struct text head = header(t, run, SIZE_MAX).text, aside;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->count; i++)
        if (t->updated[i])
            sum = checksum(sum, t->inputs[i].data, tensor_bytes(&t->inputs[i]));
    put_checksum(head.data, sum);
    FILE *file = open_aside(path, &aside);
    bool ok = write_all(file, t, &head);
    ok = fclose(file) == 0 && ok && rename(aside.data, path) == 0;
    if (!ok) {
        int why = errno;
        remove(aside.data);
        die("%s: the checkpoint was not written: %s", path, strerror(why));
    }
    free(aside.data);
    free(head.data);
}

/* found: the whole file. Returns its tensors. */
static const char *check(const char *path, const struct trainer *t, const char *run,
                         const char *found, size_t size)
{
    const size_t sum_at = sizeof BEGIN - 1, run_at = sum_at + DIGITS + sizeof RUN - 1;
    struct header own = header(t, run, SIZE_MAX);
    size_t same = run_at, room = own.text.size;
    unsigned char length[8];
    const char *head = found + 8; /* of that many bytes, but for checks */
    if (size < 8 + run_at || memcmp(head, BEGIN, sum_at) != 0 ||
        memcmp(head + sum_at + DIGITS, RUN, sizeof RUN - 1) != 0)
        die("%s: is no checkpoint of this program", path);
    while (same < size - 8 && same < room && head[same] == own.text.data[same])
        same++;
    if (same <= run_at + strlen(run)) {
        const char *words = head + run_at, *end = memchr(words, '"', size - 8 - run_at);
        die("%s: is a checkpoint of another run, '%.*s'; this one is '%s'", path,
            end ? (int)(end - words) : 0, words, run);
    }
    if (same < room && same < size - 8)
        die("%s: does not fit the step package: tensor '%s' is another one", path,
            header(t, run, same).last);
    put_length(length, room);
    if (size != 8 + room + own.data_bytes || memcmp(found, length, 8) != 0)
        die("%s: is damaged: %zu bytes, expected %zu", path, size, 8 + room + own.data_bytes);
    put_checksum(own.text.data, checksum(0, head + room, own.data_bytes));
    if (memcmp(own.text.data, head, room) != 0)
        die("%s: is damaged: its data have another checksum than it says", path);
    free(own.text.data);
    return head + room;
}

static char *read_all(const char *path, size_t *out_size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        die("%s: %s", path, strerror(errno));
    long end = ftell(file);
    char *data = end < 0 ? NULL : malloc((size_t)end + 1);
    if (!data)
        die("%s: cannot be read, or there is no memory for it", path);
    rewind(file);
    if (fread(data, 1, (size_t)end, file) != (size_t)end)
        die("%s: cannot be read", path);
    fclose(file);
    *out_size = (size_t)end;
    return data;
}

void checkpoint_load(const char *path, const struct trainer *t, const char *run)
{
    size_t size;
    char *found = read_all(path, &size);
    const char *from = check(path, t, run, found, size);
    for (uint32_t i = 0; i < t->count; i++)
        if (t->updated[i]) {
            memcpy(t->inputs[i].data, from, tensor_bytes(&t->inputs[i]));
            from += tensor_bytes(&t->inputs[i]);
        }
    free(found);
}
