"""A disk whose power is cut: what a program did not sync is gone afterwards.

A few lines of C stand in front of fsync, fdatasync, syncfs and sync of every process that is started with
`environment`. They note the content of the file or the entries of the folder at that moment, and sync nothing. What was
noted is all that POSIX promises after a cut: a file that was synced in a folder that was not is not there.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>
static int identity(int at, const char *name, char *text, unsigned *mode) { /* an inode number may come again */
    struct statx is;
    if (statx(at, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &is)) return 0;
    sprintf(text, "%llu.%lld.%u", (unsigned long long)is.stx_ino, (long long)is.stx_btime.tv_sec, is.stx_btime.tv_nsec);
    *mode = is.stx_mode;
    return 1;
}
static void write_down(char kind, const char *who, char *data, size_t length) { /* in one piece: there are threads */
    char head[200];
    struct iovec parts[] = {{head, sprintf(head, "%c %s %zu\n", kind, who, length)}, {data, length}};
    int log = open(LOG_FILE, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log < 0 || writev(log, parts, 2) < 0) abort();
    close(log);
}
static void note(const char *path) {
    char who[100], *data = 0, link[PATH_MAX], one[PATH_MAX * 2 + 200];
    size_t length = 0;
    unsigned mode;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || !identity(file, "", who, &mode)) { if (file >= 0) close(file); return; }
    if (S_ISDIR(mode)) {
        DIR *folder = fdopendir(file);
        FILE *text = open_memstream(&data, &length);
        for (struct dirent *entry; (entry = readdir(folder));) {
            char its[100];
            unsigned kind;
            if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
            if (!identity(dirfd(folder), entry->d_name, its, &kind)) continue;
            ssize_t end = S_ISLNK(kind) ? readlinkat(dirfd(folder), entry->d_name, link, sizeof link - 1) : 0;
            link[end < 0 ? 0 : end] = 0;
            fprintf(text, "%s%c%s%c%o%c%s%c", entry->d_name, 0, its, 0, kind, 0, link, 0);
        }
        fclose(text), closedir(folder);
        write_down('D', who, data, length);
    } else if (S_ISREG(mode)) {
        struct stat is;
        fstat(file, &is);
        data = malloc(is.st_size + 1);
        ssize_t got = pread(file, data, is.st_size, 0);
        write_down('F', who, data, got < 0 ? 0 : got);
        close(file);
    } else close(file);
    free(data);
}
static int note_each(const char *path, const struct stat *is, int kind, struct FTW *at) {
    if (kind == FTW_F || kind == FTW_D) note(path);
    return 0;
}
void sync(void) { nftw(ROOT, note_each, 16, FTW_PHYS); }
int syncfs(int file) { sync(); return 0; }
int fsync(int file) {
    char link[64], path[PATH_MAX];
    sprintf(link, "/proc/self/fd/%d", file);
    ssize_t end = readlink(link, path, sizeof path - 1);
    path[end < 0 ? 0 : end] = 0;
    if (!strncmp(path, ROOT "/", sizeof ROOT) || !strcmp(path, ROOT)) note(link);
    return 0;
}
int fdatasync(int file) { return fsync(file); }
"""


@dataclass(frozen=True)
class _Note:
    kind: str  # F or D
    identity: str
    data: bytes
    end: int  # where it ends in the log


@dataclass
class _Image:
    """What a disk holds: by identity the bytes of each file, and the entries of each folder."""

    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, list[tuple[str, str, int, str]]] = field(default_factory=dict)  # name, identity, mode, target

    def write(self, identity: str, target: Path) -> None:
        """Make the folder with this identity at `target`, with all that is below it."""
        target.mkdir()
        for name, its, mode, link in self.folders.get(identity, []):
            path = target / name
            if mode & 0o170000 == 0o040000:
                self.write(its, path)
            elif mode & 0o170000 == 0o120000:
                path.symlink_to(link)
            elif mode & 0o170000 == 0o100000:
                path.write_bytes(self.files.get(its, b""))
            if not path.is_symlink() and path.exists():
                path.chmod(mode & 0o7777)


class Disk:
    """The folder `root` as a disk; what lies there at first is on the disk."""

    def __init__(self, root: Path, work: Path) -> None:
        """root: an absolute path without links; work: a folder beside it for what is noted."""
        self.root, self.log = root, work / "syncs"
        library = work / "power.so"
        source = f'#define ROOT "{root}"\n#define LOG_FILE "{self.log}"\n{SOURCE}'
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-x", "c", "-o", str(library), "-"], input=source, text=True, check=True
        )
        self.environment = {**os.environ, "LD_PRELOAD": str(library)}
        self._notes: list[_Note] = []
        self.begin()

    def begin(self) -> None:
        """From now on, what lies there is on the disk, and cuts come after this."""
        self.log.unlink(missing_ok=True)
        self._notes.clear()
        self.first = self._look()

    def _look(self) -> int:
        """Note everything that is there now; returns how many notes there are."""
        subprocess.run(["sync", "-f", str(self.root)], env=self.environment, check=True)
        return len(self._read())

    def _read(self) -> list[_Note]:
        """Return all notes; the log only grows, so what was read is not read again."""
        with self.log.open("rb") as stream:
            stream.seek(self._notes[-1].end if self._notes else 0)
            while head := stream.readline():
                kind, identity, length = head.decode().split()
                data = stream.read(int(length))
                self._notes.append(_Note(kind, identity, data, stream.tell()))
        return self._notes

    def syncs(self, size: int | None = None) -> int:
        """Return how many files and folders were synced since the beginning; size: when the log had so many bytes."""
        return sum(size is None or note.end <= size for note in self._read()) - self.first

    def cut(self, target: Path, syncs: int) -> Path:
        """Make the folder as it is after a power cut behind so many syncs, and return it."""
        notes = self._read()
        _image(notes[: self.first + syncs]).write(notes[0].identity, target)  # nftw notes the root first
        return target

    def cut_with_entries(self, target: Path) -> Path:
        """Make the folder as it is after a cut now on a disk that was quick with entries, and slow with content."""
        synced = [*self._read()]
        self._look()
        present = _image(self._notes[len(synced) :])
        self._notes = synced  # a look is no sync
        os.truncate(self.log, synced[-1].end)
        _Image(_image(synced).files, present.folders).write(synced[0].identity, target)
        return target


def _image(notes: list[_Note]) -> _Image:
    image = _Image()
    for note in notes:
        if note.kind == "F":
            image.files[note.identity] = note.data
        else:
            words = note.data.decode().split("\0")[:-1]
            image.folders[note.identity] = [
                (words[at], words[at + 1], int(words[at + 2], 8), words[at + 3]) for at in range(0, len(words), 4)
            ]
    return image
