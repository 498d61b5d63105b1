// Package azure is the agent that keeps backups in a container of Azure Blob Storage.
//
//	azblob://container/prefix?account=acmebackups
//	azblob://container/prefix?endpoint=http://127.0.0.1:10000/devstoreaccount1
//
// The options of the URL are the fields of Config: account, endpoint, client_id, tier,
// encryption_scope, lock, lock_for, part_size, concurrency, ca_bundle. A configuration
// file has besides them key, sas and connection_string, which are secret.
//
// The container has to be there: none is ever made or listed. Credentials are those of
// the configuration, else of the environment: AZURE_STORAGE_CONNECTION_STRING, or
// AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN with AZURE_STORAGE_ACCOUNT, else those
// that Azure's own identity finds: a service principal or workload identity by the
// AZURE_… variables, a managed identity, or who is signed in with az. They go to the
// host that is named and to no other, so redirects are not followed. A connection string
// of the environment that is of another account than the one which is named is passed
// over. An identity's token is never sent over http://, a SAS only to this machine.
//
// # How objects are stored
//
// An archive larger than a part goes up in blocks, each with a CRC-64 that the server
// verifies. The name of a block has the upload's token, its index and that CRC-64, so
// the server's own list of blocks says which bytes it holds, and the list that is
// committed says which bytes the blob has. Blobs are created with If-None-Match, so
// nothing is overwritten. An upload that was interrupted goes on with the blocks that
// the server lists; what nobody goes on with, the server drops after a week.
//
// A blob's metadata has the token and the CRC-64 of its bytes, as the blocks had them
// when they were committed.
//
// A tier is that of archives: metadata, which every list reads, stays in the account's
// own. What lies in the archive tier has to be rehydrated before it can be read.
//
// A lock is an immutability policy of archives, metadata and signatures, counted from
// when each was committed; the container must support them for versions. Holds and
// marks stay free. A server that passes over the lock is found out: the upload fails.
//
// A delete of what a blob, or a legal hold of the container, protects changes nothing. Of a
// policy of the container itself nobody but its owner is told until when it protects, and a
// SAS of the container is not told of its legal hold: there, a delete that comes too early
// answers locked and leaves the mark that the id is gone.
//
// In an account with a hierarchical namespace the folders of the keys are there as blobs;
// they are passed over, and stay.
//
// # Rights
//
// The role Storage Blob Data Contributor, or a SAS of the container with the rights
// rwcl (read, write, create, list), and d to delete; without it, uploads, lists and
// restores work. With a lock also i.
package azure
