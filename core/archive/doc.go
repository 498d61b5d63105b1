// Package archive packs files into one stream that standard tools open, and
// reads single files out of it by its table of contents.
package archive
