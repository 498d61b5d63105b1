// Package prove has what an agent's own tests say over and over, beside the suite:
// a backup of some bytes is stored, listed and the same when it comes back; an error
// is of a kind; nothing that was said has a secret in it.
package prove
