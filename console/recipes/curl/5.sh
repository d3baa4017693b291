api() { curl -sS -H "Authorization: Bearer $ORKESTR_API_KEY" -H "Content-Type: application/json" "$@"; }
base=$ORKESTR_BASE_URL/v1/sandboxes
id=$(api "$base" -d '{"template": "debian-12"}' | grep -o 'sbx_[0-9A-Z]*' | head -n 1)
link() { grep -o '"url":"[^"]*"' | cut -d '"' -f 4; }

# Files of any size go by signed links, which need no token.
seq 1000 > numbers.txt
curl -sS -T numbers.txt "$(api "$base/$id/files/presign-upload" -d '{"path": "/workspace/numbers.txt"}' | link)" >/dev/null
api "$base/$id/exec" -d '{"command": "sort -rn numbers.txt > sorted.txt"}' >/dev/null
curl -sS "$(api "$base/$id/files/presign-download" -d '{"path": "/workspace/sorted.txt"}' | link)" | head -n 1
api -X DELETE "$base/$id"
