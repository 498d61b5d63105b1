// Package gcs is the agent that keeps backups in a bucket of Google Cloud Storage.
//
//	gs://bucket/prefix
//	gs://bucket/prefix?storage_class=NEARLINE&quota_project=billing-1
//
// The options of the URL are the fields of Config: endpoint, emulator, credentials,
// quota_project, storage_class, kms_key, lock, lock_for, upload, part_size,
// concurrency, ca_bundle.
//
// The bucket has to be there: none is ever made or listed. Credentials are the
// application default ones of Google's tools: GOOGLE_APPLICATION_CREDENTIALS (a service
// account, or workload identity federation), gcloud's, the machine's; or the file that
// credentials names. Their token goes to the host that is named and to no other, so
// redirects are not followed. STORAGE_EMULATOR_HOST switches them off, and is refused
// where it names another machine, unless emulator says that it is meant.
//
// # How objects are stored
//
// Every object is created where there is none (ifGenerationMatch=0), with a CRC32C that
// the server compares. Its CRC-64/NVME, computed over the same bytes, stands in its
// metadata.
//
// An archive larger than a part goes up in parts, which are objects below tmp/, and is
// composed of them, with the CRC32C of the whole. Index and CRC-64 of a part stand in its
// name, so an upload that was interrupted goes on with what the bucket lists. Parts are
// deleted then.
//
// Where parts could not be deleted, or would be kept for longer than they live, an
// archive goes up in one resumable session: without the right storage.objects.delete, in
// a bucket with a retention policy, with holds by default or of a colder class, and with
// a storage_class that is colder. That is slower. It is found out with the first such
// archive, and upload=parts or upload=session says it instead. A bucket that may not be
// looked at is known by the parts of a first archive, which stay. Rights that depend on
// an object's name are not seen: with those, give upload=parts.
//
// New buckets have soft delete, for seven days. Parts go up there all the same, and are
// paid for as long as that: a week's storage of each archive once more. Switch soft
// delete off, or give upload=session, to do without.
//
// A session is remembered in the state folder, in files of mode 0600: whoever knows where
// it is may add to it. Without a state folder, or when it is lost, an upload that was
// interrupted begins anew, for the server lists no sessions; one that is left ends by
// itself after a week.
//
// A storage class is that of archives: metadata, which every list reads, stays in the
// bucket's own. A lock is that of archives, metadata and signatures, counted from when
// each was begun; the bucket has to have object retention. Holds and marks stay free.
//
// # Rights
//
// On the bucket: storage.objects.create, storage.objects.get, storage.objects.list. To
// delete, and to upload in parts: storage.objects.delete; without it, uploads, lists and
// restores work. With a lock: storage.objects.setRetention. To be told of the bucket's
// retention and class: storage.buckets.get. With a kms_key, the bucket's service agent
// has to have cloudkms.cryptoKeyEncrypterDecrypter on it. With a quota_project:
// serviceusage.services.use on that.
package gcs
