/* The files of the page for people, as the build put them into the program (tools/embed). */
#ifndef URZA_SERVER_PAGE_H
#define URZA_SERVER_PAGE_H

#include <stddef.h>
#include <stdint.h>

struct page_file {
    const char *name; /* "app.js" */
    const char *type; /* Content-Type */
    const char *etag; /* with its quotes */
    const char *data; /* a zero stands behind the last byte */
    size_t size_bytes;
};
extern const struct page_file page_files[];
extern const uint32_t page_file_count;

#endif
