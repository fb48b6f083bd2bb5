package encodings

decision["base64"] := base64.encode(input.a)

decision["base64 back"] := base64.decode(base64.encode(input.a))

decision["base64 decode"] := base64.decode(input.encoded)

decision["base64url"] := base64url.encode(input.a)

decision["base64url no pad"] := base64url.encode_no_pad(input.a)

decision["base64url decode"] := base64url.decode(input.encoded)

decision["hex"] := hex.encode(input.a)

decision["hex decode"] := hex.decode(input.encoded)

decision["urlquery"] := urlquery.encode(input.a)

decision["urlquery decode"] := urlquery.decode(input.encoded)

decision["urlquery object"] := urlquery.encode_object(input.query)

decision["urlquery decode_object"] := urlquery.decode_object(input.encoded)

decision["json"] := json.marshal(input.value)

decision["json back"] := json.unmarshal(json.marshal(input.value))

decision["json unmarshal"] := json.unmarshal(input.json)

decision["json pretty"] := json.marshal_with_options(input.value, {"indent": "  ", "prefix": ">"})

decision["json plain"] := json.marshal_with_options(input.value, {"pretty": false})

decision["md5"] := crypto.md5(input.a)

decision["sha1"] := crypto.sha1(input.a)

decision["sha256"] := crypto.sha256(input.a)

decision["hmac"] := [
	crypto.hmac.md5(input.a, "key"),
	crypto.hmac.sha1(input.a, "key"),
	crypto.hmac.sha256(input.a, "key"),
	crypto.hmac.sha512(input.a, "key"),
]

decision["hmac equal"] := crypto.hmac.equal(input.a, input.encoded)
