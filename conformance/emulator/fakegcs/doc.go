// Package fakegcs is a server of Google Cloud Storage in this process, for tests: its
// JSON API as far as backups need it, and with it what emulators leave out.
//
//	s, err := fakegcs.New(fakegcs.Options{Dir: dir, Anonymous: true})
//	s.MakeBucket("b", fakegcs.Bucket{})
//	http.Serve(listener, s)
//
// Objects are created in one request (uploadType media and multipart), by a resumable
// session, and by compose. Preconditions hold when an object is created, not when its
// upload begins. Checksums are compared: crc32c and md5Hash of the metadata, and
// X-Goog-Hash of a session's last request. A session keeps whole blocks of 256 KiB of
// what breaks off. Lists have pages, of at most 1,000, and partial responses. A read may
// name a generation and a range. Retention and holds protect from deleting and from
// replacing. Requests need a token, and rights that can be taken away.
//
// What it does is what the documentation says, and where that is silent, what
// googleapis/storage-testbench does:
//
//   - https://cloud.google.com/storage/docs/json_api/v1/objects
//   - https://cloud.google.com/storage/docs/json_api/v1/status-codes
//   - https://cloud.google.com/storage/docs/performing-resumable-uploads
//   - https://cloud.google.com/storage/docs/composite-objects
//   - https://github.com/googleapis/storage-testbench
//
// Two things are chosen where neither says anything, as the case that is harder for a
// client: who may not list is denied, and not told, what is not there; and who may not
// delete is denied, and not told, that a key is taken.
//
// Bytes lie in files, so that gigabytes can be stored, and are shared by what is
// composed of them. Nothing else is kept: a Server ends with its process.
package fakegcs
