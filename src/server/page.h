/* The files of the page for people, which the build embeds in the program (tools/embed). */
#ifndef URZA_SERVER_PAGE_H
#define URZA_SERVER_PAGE_H

#include <stddef.h>
#include <stdint.h>

struct page_file {
    const char *name; /* "app.js" */
    const char *type; /* Content-Type */
    const char *etag; /* with its quotes */
    const char *data; /* followed by a zero byte */
    size_t size_bytes;
};
extern const struct page_file page_files[];
extern const uint32_t page_file_count;

#endif
