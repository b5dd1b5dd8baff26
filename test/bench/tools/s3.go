// SPDX-License-Identifier: GPL-3.0-or-later
package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

const xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// s3 answers by path style: /bucket/key.
func (a *answer) s3() {
	a.set("X-Amz-Request-Id", a.id)
	a.set("X-Amz-Id-2", "Ht0Lq0K2zC7Vq6bYq8t6Zl1bTqv4VQxg0zqk1s0nWc8m5r0Jm3jTn2bF0y1vG4c5XbHq0b8aM3E=")
	a.set("Server", "AmazonS3")
	key := a.r.URL.Path
	query := a.r.URL.Query()
	upload := query.Get("uploadId")
	bucket, name, _ := strings.Cut(strings.TrimPrefix(key, "/"), "/")
	switch a.r.Method {
	case "PUT":
		checksums := metadata(a.r.Header, "X-Amz-Checksum-")
		for header, value := range checksums {
			a.set(header, value)
		}
		if upload != "" {
			a.store.count("part")
			a.store.addPart(upload, query.Get("partNumber"), a.body)
			a.set("Etag", a.etag())
		} else {
			a.store.count("put")
			header := metadata(a.r.Header, "X-Amz-Meta-", "X-Amz-Checksum-", "Content-Type")
			header["Etag"] = a.etag()
			a.set("Etag", header["Etag"])
			a.set("X-Amz-Server-Side-Encryption", "AES256")
			a.store.put(key, &object{bytes: a.body, memory: a.body, header: header})
		}
		a.say(200, "", "")
	case "POST":
		a.s3Upload(key, upload)
	case "GET", "HEAD":
		if name == "" {
			a.s3List(bucket, query.Get("prefix"))
			return
		}
		a.store.count(readKind(a.r.Method, a.r.Header.Get("Range")))
		o := a.store.get(key)
		if o == nil {
			a.s3Error(404, "NoSuchKey", "<Key>"+escape(name)+"</Key>")
			return
		}
		defer a.store.release(o)
		a.set("X-Amz-Server-Side-Encryption", "AES256")
		a.give(o, a.r.Header.Get("Range"), func() { a.s3Error(416, "InvalidRange", "") })
	case "DELETE":
		a.store.count("delete")
		if upload != "" {
			a.store.joinParts(upload, nil)
		} else {
			a.store.remove(key)
		}
		a.w.WriteHeader(204)
	default:
		a.s3Error(405, "MethodNotAllowed", "")
	}
}

// etag is the MD5 where the client has sent it; else an opaque one, as S3 gives with encryption by KMS.
func (a *answer) etag() string {
	if md5, err := base64.StdEncoding.DecodeString(a.r.Header.Get("Content-Md5")); err == nil && len(md5) == 16 {
		return `"` + hex.EncodeToString(md5) + `"`
	}
	return `"` + strings.ToLower(a.id) + `-1"`
}

func (a *answer) s3Upload(key, upload string) {
	a.store.count("other")
	if upload == "" {
		a.store.put("upload "+a.id, &object{header: metadata(a.r.Header, "X-Amz-Meta-", "Content-Type")})
		for _, name := range []string{"X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Type"} {
			if value := a.r.Header.Get(name); value != "" {
				a.set(name, value)
			}
		}
		a.say(200, "application/xml", xmlHeader+"<InitiateMultipartUploadResult><UploadId>"+a.id+"</UploadId></InitiateMultipartUploadResult>")
		return
	}
	begun := a.store.get("upload " + upload)
	if begun == nil {
		a.s3Error(404, "NoSuchUpload", "")
		return
	}
	defer a.store.release(begun)
	var list struct {
		Part []struct{ PartNumber int }
	}
	_ = xml.Unmarshal(a.body, &list)
	sort.Slice(list.Part, func(i, j int) bool { return list.Part[i].PartNumber < list.Part[j].PartNumber })
	var parts []string
	for _, part := range list.Part {
		parts = append(parts, strconv.Itoa(part.PartNumber))
	}
	begun.header["Etag"] = fmt.Sprintf(`"%s-%d"`, strings.ToLower(a.id), len(parts))
	a.store.put(key, &object{bytes: a.store.joinParts(upload, parts), header: begun.header})
	a.store.remove("upload " + upload)
	checksum := ""
	if crc32 := a.r.Header.Get("X-Amz-Checksum-Crc32"); crc32 != "" {
		checksum = "<ChecksumCRC32>" + crc32 + "</ChecksumCRC32>"
	}
	a.say(200, "application/xml", xmlHeader+"<CompleteMultipartUploadResult><ETag>"+escape(begun.header["Etag"])+"</ETag>"+checksum+"</CompleteMultipartUploadResult>")
}

// s3List has no pages: benches list little.
func (a *answer) s3List(bucket, prefix string) {
	a.store.count("list")
	var contents strings.Builder
	for _, key := range a.store.list("/" + bucket + "/" + prefix) {
		if o := a.store.get(key); o != nil {
			fmt.Fprintf(&contents, "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>%s</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>",
				escape(key[len(bucket)+2:]), o.modified.UTC().Format("2006-01-02T15:04:05.000Z"), escape(o.header["Etag"]), len(o.bytes))
			a.store.release(o)
		}
	}
	a.say(200, "application/xml", fmt.Sprintf("%s<ListBucketResult><Name>%s</Name><Prefix>%s</Prefix><KeyCount>%d</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>%s</ListBucketResult>",
		xmlHeader, escape(bucket), escape(prefix), strings.Count(contents.String(), "<Contents>"), contents.String()))
}

func (a *answer) s3Error(status int, code, more string) {
	a.say(status, "application/xml", fmt.Sprintf("%s<Error><Code>%s</Code><Message>%s</Message>%s<RequestId>%s</RequestId></Error>", xmlHeader, code, code, more, a.id))
}

func readKind(method, rangeHeader string) string {
	switch {
	case method == "HEAD":
		return "head"
	case rangeHeader != "":
		return "range"
	default:
		return "get"
	}
}

func escape(text string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text))
	return escaped.String()
}
