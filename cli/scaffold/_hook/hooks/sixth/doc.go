// Package sixth is the hook kind sixth.
//
//	hooks:
//	  - name: pause
//	    sixth: {target: db.lan}
//
// Say here what its pre, post and after do, what of it a restore finds in the hook's
// own directory, and what is left when a run is killed between pre and post: a post is
// owed then, runs in another process, and must bear to run twice.
package sixth
