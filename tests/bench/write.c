/* The floor of what writing limits can cost: for each change the files that must be read just before
   it, then the control file opened, written, read back and closed.
   Usage: write LINES_FILE, whose lines are "r PATH", to be read, or "w PATH\tTEXT", to be written.
   Carries all out for each byte on stdin, and says how many microseconds of wall time it took. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct act { char *path, *text; }; /* without a text it is a read */

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int carried_out(const struct act *act)
{
    static char said[8192];
    int fd = open(act->path, (act->text ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || (act->text && write(fd, act->text, strlen(act->text)) < 0))
        return 0;
    return pread(fd, said, sizeof said, 0) >= 0 && close(fd) == 0;
}

int main(int argc, char **argv)
{
    static char line[8192];
    int count = 0, room = 0;
    struct act *acts = NULL;
    FILE *lines = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (!lines)
        return perror("lines"), 1;
    while (fgets(line, sizeof line, lines)) {
        line[strcspn(line, "\n")] = 0;
        if (count == room && !(acts = realloc(acts, (room = room * 2 + 64) * sizeof *acts)))
            return 1;
        char *words = strdup(line + 2), *path = strsep(&words, "\t");
        acts[count++] = (struct act){path, words};
    }
    while (getchar() != EOF) {
        double began_us = now_us();
        for (int i = 0; i < count; i++)
            if (!carried_out(&acts[i]))
                return perror(acts[i].path), 1;
        printf("%.1f\n", now_us() - began_us);
        fflush(stdout);
    }
    return 0;
}
