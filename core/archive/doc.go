// Package archive packs files into one stream that standard tools open, reads
// single files out of it by its table of contents, and extracts it.
//
// # The stream
//
// An archive is a tar stream in the pax format (POSIX.1-2017, pax), compressed
// with zstd (RFC 8878) in the seekable format (zstd, contrib/seekable_format,
// version 0.1.1). So this restores it with nothing of ours:
//
//	zstd -d < archive.tar.zst | tar -x --xattrs --xattrs-include='*'
//
// The zstd stream is a row of frames:
//
//	data frame, data frame, …, table, data frame, …, table, index, seek table
//
// Data frames are independent of each other and hold 1 MiB of the tar stream or
// less; an entry may begin anywhere in one and go on in the next. A file of which
// 1 MiB or more is stored begins a frame with its first header. Tables, index and
// seek table are skippable frames, which other tools pass over. The seek table
// lists every frame before it, those that are skippable with a content of 0
// bytes, and has no checksums, because data frames carry their own.
//
// # The tar stream
//
// The name of an entry is the absolute path of a file without the leading slash
// (of a volume C: without the colon: C/Users), or, for files that come from
// elsewhere, a name such as hooks/db/app.dump. Directories above those that were
// named are no entries. Entries stand in walk order: sorted by the bytes of the
// parts of their names, so that a directory comes right before what is in it.
// Names are bytes, UTF-8 or not.
//
// An entry is a ustar header, before it an extended header where that is needed
// (path, linkpath, uname, gname, uid, gid, size, mtime with nanoseconds), and
// content padded to 512 bytes. Of several names of one file the first has the
// content and the others are hard links to it.
//
// Extended attributes, POSIX ACLs among them, are records SCHILY.xattr.<name>; in
// the name % is written %25 and = is written %3D, as GNU tar does. Sparse files are
// in GNU tar's PAX 1.0 form: the records GNU.sparse.major=1, GNU.sparse.minor=0,
// GNU.sparse.name and GNU.sparse.realsize, and in front of the content, padded to
// 512 bytes, the map: decimal numbers with a newline each, how many extents there
// are and of each offset and size. All but the last extent with data begin and
// end at multiples of 512; the last one of all has size 0 and the file's size as
// its offset.
//
// # The table of contents
//
// Each table tells of up to 1,024 entries in walk order, all but the last of
// exactly so many. It stands after the data frame that holds the end of its last
// entry. The index tells of the tables. The backup's metadata says where the
// index is: offset, size and SHA-256 of its whole frame. All offsets count bytes
// of the zstd stream.
//
// Both are skippable frames with the magic number 0x184D2A5B, then their size (both
// little-endian, 32 bits), then one zstd frame with the following content. A uint
// is a base 128 varint as in encoding/binary, an int the same in zig-zag form, a
// string a uint with its length and its bytes. A name is a uint, how many bytes it
// has in common with the name before it in the same table or index (0 for the
// first), and a string, the rest of it.
//
//	table:  "offsite table 1\n"
//	        uint    number of entries
//	        and for each entry:
//	        name
//	        uint    mode as st_mode of Linux: type (0100000 file, 0040000 directory,
//	                0120000 symbolic link, 0010000 FIFO, 0020000 character device,
//	                0060000 block device) and the lower 12 bits
//	        uint    user
//	        uint    group
//	        int     time of modification, seconds since 1970
//	        uint    its nanoseconds
//	        uint    size of the content, holes included
//	        string  where a symbolic link points, or of a file with several names the
//	                first, or empty
//	        32 bytes SHA-256 of the content, holes read as zeros; of files only
//	        uint    offset of the data frame in which the entry's first header begins,
//	                less that of the entry before (0 for the first)
//	        uint    bytes of that frame's content before that header
//	        uint    bytes of the zstd stream from that offset to the end of the data
//	                frame that holds the entry's last byte
//
//	index:  "offsite index 1\n"
//	        uint    number of entries in all tables
//	        uint    number of tables
//	        and for each table:
//	        name    of its first entry
//	        uint    offset of its frame, less that of the table before (0 for the first)
//	        uint    size of its whole frame
//	        32 bytes SHA-256 of its whole frame
//
// A hard link has the size and SHA-256 of the file that it shares. The digit in
// the first line is the version; a reader refuses one that it does not know.
//
// So one file out of any number is read with the index, one table, and the data
// frames that hold it, and each is checked before it is used.
package archive
