// One fused update (forward, MSE readout, BPTT, Adam) of E independent leaky tanh RNNs in hand-written CUDA, fp32 FFMA only: what a CUDA C kernel of the same shape reaches.
// build: nvcc -O3 -std=c++17 -arch=sm_90 -o fused_leaky fused_leaky.cu            (N = 64, 128)
//        nvcc -O3 -std=c++17 -arch=sm_90 -DUSE_CUBLAS -o fused_leaky fused_leaky.cu -lcublas   (also N = 256, 512: dW there is one batched fp32 SGEMM)
// usage: ./fused_leaky N T E [repeats]       B = 64, 3 inputs, 3 outputs. Exit status 1 when a gradient, the loss or Adam disagrees with the double-precision host reference.
// Parameters of a network, PS(N) floats: W[N][N] (z_n += W[n][k] h_k), U[N][3], b[N], R[3][N], d[3].
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cmath>
#include <vector>
#include <algorithm>
#include <cuda_runtime.h>
#ifdef USE_CUBLAS
#include <cublas_v2.h>
#endif
#define CK(x) do{cudaError_t e_=(x);if(e_!=cudaSuccess){fprintf(stderr,"%s:%d: %s: %s\n",__FILE__,__LINE__,#x,cudaGetErrorString(e_));exit(2);}}while(0)
#define D __device__ __forceinline__
static constexpr float AL=0.2f, KEEP=0.8f;
static constexpr int B=64;
__host__ __device__ constexpr long psize(int N){return ((long)N*N+7*N+3+3)/4*4;}   // stride of parameters and moments
__host__ __device__ constexpr long gsize(int N){return (long)N*N+4*N;}             // gradients written by the backward kernel: W,U,b
__host__ __device__ constexpr long fsize(int N){return 3*N+4;}                     // written by the forward kernel: R,d,sum of squared errors

D float tanh_acc(float x){ // relative error < 3e-7: polynomial below 0.55, 1-2/(e^2x+1) above; no tanh.approx
  float e,q; asm("ex2.approx.ftz.f32 %0,%1;":"=f"(e):"f"(x*2.885390082f)); e+=1.f; asm("rcp.approx.ftz.f32 %0,%1;":"=f"(q):"f"(e));
  float big=fmaf(-2.f,q,1.f), s=x*x, p=fmaf(1.57394409e-2f,s,-5.23025990e-2f); p=fmaf(p,s,1.33152366e-1f); p=fmaf(p,s,-3.33327681e-1f);
  p=fmaf(p*s,x,x); return fabsf(x)<0.55f?p:big; }
D float4 ld4(const float*p){return *reinterpret_cast<const float4*>(p);}
D void st4(float*p,float a,float b,float c,float d){*reinterpret_cast<float4*>(p)=make_float4(a,b,c,d);}
D void cp16(float*s,const float*g){asm volatile("cp.async.cg.shared.global [%0],[%1],16;"::"r"((unsigned)__cvta_generic_to_shared(s)),"l"(g):"memory");}
D void cpcommit(){asm volatile("cp.async.commit_group;":::"memory");}
template<int n> D void cpwait(){asm volatile("cp.async.wait_group %0;"::"n"(n):"memory");}
template<int id,int cnt> D void bar(){asm volatile("bar.sync %0,%1;"::"n"(id),"n"(cnt):"memory");}
D void outer8(float(&c)[8][8],float4 a0,float4 a1,float4 b0,float4 b1){
  float a[8]={a0.x,a0.y,a0.z,a0.w,a1.x,a1.y,a1.z,a1.w},b[8]={b0.x,b0.y,b0.z,b0.w,b1.x,b1.y,b1.z,b1.w};
  #pragma unroll
  for(int i=0;i<8;i++){
    #pragma unroll
    for(int j=0;j<8;j++)c[i][j]=fmaf(a[i],b[j],c[i][j]);}}

// ---------------- shared pieces of the forward pass: readout of h (N x BT, row stride LDB) and dR ----------------
template<int N,int BT,int TH> struct RO{
  static constexpr int LDB=BT+4,NG=TH/(BT/4),BP=TH/N,CH=BT/BP/4; static_assert(NG>=8&&NG<=32&&N%NG==0&&BP>=1,"");
  int ng,bg,b,kd,part; float dR[3],dd[3],ls,tg[3];
  D void init(int tid){ng=tid%NG;bg=tid/NG;b=4*bg+2*(ng&1)+((ng>>1)&1);kd=tid%N;part=tid/N;ls=0;for(int o=0;o<3;o++)dR[o]=dd[o]=tg[o]=0;}
  D void target(const float*tgt){ // tgt: [3][64] of this step, already offset by the batch tile
    #pragma unroll
    for(int o=0;o<3;o++)tg[o]=tgt[o*B+b];}
  D void readout(const float*h,const float4*R4,float*es,float*eg,const float*dv,float sc){
    float y[3][4];
    #pragma unroll
    for(int o=0;o<3;o++){y[o][0]=y[o][1]=y[o][2]=y[o][3]=0;}
    #pragma unroll 4
    for(int j=0;j<N/NG;j++){float4 v=ld4(h+(ng+NG*j)*LDB+4*bg),r=R4[ng+NG*j];
      y[0][0]=fmaf(r.x,v.x,y[0][0]);y[0][1]=fmaf(r.x,v.y,y[0][1]);y[0][2]=fmaf(r.x,v.z,y[0][2]);y[0][3]=fmaf(r.x,v.w,y[0][3]);
      y[1][0]=fmaf(r.y,v.x,y[1][0]);y[1][1]=fmaf(r.y,v.y,y[1][1]);y[1][2]=fmaf(r.y,v.z,y[1][2]);y[1][3]=fmaf(r.y,v.w,y[1][3]);
      y[2][0]=fmaf(r.z,v.x,y[2][0]);y[2][1]=fmaf(r.z,v.y,y[2][1]);y[2][2]=fmaf(r.z,v.z,y[2][2]);y[2][3]=fmaf(r.z,v.w,y[2][3]);}
    #pragma unroll
    for(int o=0;o<3;o++){
      bool u=ng&1; float s0=u?y[o][0]:y[o][2],s1=u?y[o][1]:y[o][3],k0=u?y[o][2]:y[o][0],k1=u?y[o][3]:y[o][1];
      k0+=__shfl_xor_sync(~0u,s0,1);k1+=__shfl_xor_sync(~0u,s1,1);
      bool w=ng&2; float s=w?k0:k1,k=w?k1:k0; k+=__shfl_xor_sync(~0u,s,2);
      #pragma unroll
      for(int m=4;m<NG;m*=2)k+=__shfl_xor_sync(~0u,k,m);
      float q=k+dv[o]-tg[o],e=sc*q; if(ng<4){ls=fmaf(q,q,ls);dd[o]+=e;es[o*BT+b]=e;eg[o*B+b]=e;}}}
  D void accR(const float*h,const float*es){const float*hp=h+kd*LDB+part*(CH*4),*ep=es+part*(CH*4);
    #pragma unroll 4
    for(int c=0;c<CH;c++){float4 v=ld4(hp+4*c);
      #pragma unroll
      for(int o=0;o<3;o++){float4 e=ld4(ep+o*BT+4*c);dR[o]=fmaf(e.x,v.x,dR[o]);dR[o]=fmaf(e.y,v.y,dR[o]);dR[o]=fmaf(e.z,v.z,dR[o]);dR[o]=fmaf(e.w,v.w,dR[o]);}}}
  D void finish(float*sm,float*out){ // sm: scratch of at least max(3*N*BP, 4*BT) floats
    __syncthreads();
    for(int o=0;o<3;o++)sm[(part*3+o)*N+kd]=dR[o];
    __syncthreads();
    for(int i=threadIdx.x;i<3*N;i+=TH){float s=0;for(int p=0;p<BP;p++)s+=sm[p*3*N+i];out[i]=s;}
    __syncthreads();
    if(ng<4){for(int o=0;o<3;o++)sm[o*BT+b]=dd[o];sm[3*BT+b]=ls;}
    __syncthreads();
    if(threadIdx.x<4){float s=0;for(int i=0;i<BT;i++)s+=sm[threadIdx.x*BT+i];out[3*N+threadIdx.x]=s;}}
};

// ---------------- N = 64, 128: W in shared memory, time loop in the kernel ----------------
// forward: block = (network, batch tile BT); 8x8 register tile per thread; the contraction is split over two groups of threads, which exchange halves of the tile through the next-state buffer
template<int N,int BT> struct F{static constexpr int TG=N/8*(BT/8),TH=2*TG,LDB=BT+4,KT=N+4;static constexpr size_t smem=4*(KT*N+2*KT*LDB+4*N+3*BT);};
template<int N,int BT,int MINB> __global__ void __launch_bounds__(F<N,BT>::TH,MINB)
fwd(const float*__restrict__ P,const float*__restrict__ X,const float*__restrict__ TGT,float*__restrict__ H,float*__restrict__ Eg,float*__restrict__ GF,int T,float sc){
  using C=F<N,BT>; constexpr int TG=C::TG,TH=C::TH,LDB=C::LDB,KT=C::KT,NBT=B/BT,KH=KT/2; constexpr int UNR=N==64?17:11;
  extern __shared__ float4 sm4[]; float*Ws=(float*)sm4,*hs=Ws+KT*N; float4*R4=(float4*)(hs+2*KT*LDB); float*es=(float*)(R4+N);
  const int tid=threadIdx.x,net=blockIdx.x/NBT,boff=(blockIdx.x%NBT)*BT,lane=tid&31,g=tid/TG,w=(tid%TG)/32;
  const int l4=(lane&1)|((lane>>4)<<1),l8=(lane>>1)&7, ai=BT==64?w*4+l4:w*8+l8, bj=BT==64?l8:l4;
  const float*p=P+net*psize(N); float*h_g=H+(long)net*T*N*B+boff,*e_g=Eg+(long)net*T*3*B+boff; const float*x_g=X+boff,*t_g=TGT+boff;
  const float*pU=p+N*N,*pb=pU+3*N,*pR=pb+N,*pd=pR+3*N;
  for(int i=tid;i<N*N;i+=TH){int k=i/N,n=i%N;Ws[i]=p[n*N+k];}
  for(int i=tid;i<N;i+=TH){Ws[N*N+i]=pU[3*i];Ws[(N+1)*N+i]=pU[3*i+1];Ws[(N+2)*N+i]=pU[3*i+2];Ws[(N+3)*N+i]=pb[i];R4[i]=make_float4(pR[i],pR[N+i],pR[2*N+i],0.f);}
  for(int i=tid;i<N*LDB;i+=TH)hs[i]=0.f;
  for(int i=tid;i<BT;i+=TH){for(int o=0;o<3;o++)hs[(N+o)*LDB+i]=x_g[o*B+i];hs[(N+3)*LDB+i]=1.f;hs[(KT+N+3)*LDB+i]=1.f;}
  float dv[3]={pd[0],pd[1],pd[2]};
  RO<N,BT,TH> ro; ro.init(tid);
  const int rowA=(g?N/2:0)+4*ai,rowB=(g?0:N/2)+4*ai,c0=4*bj,c1=BT/2+4*bj;
  const int xo=tid/(BT/4),xb=4*(tid%(BT/4)); const bool xl=tid<3*BT/4;
  __syncthreads();
  for(int t=0;t<T;t++){
    float*hc=hs+(t&1)*KT*LDB,*hn=hs+((t+1)&1)*KT*LDB;
    float4 xv; const bool xn=xl&&t+1<T; if(xn)xv=ld4(x_g+((long)(t+1)*3+xo)*B+xb);
    if(t)ro.readout(hc,R4,es,e_g+(long)(t-1)*3*B,dv,sc);
    float acc[8][8];
    #pragma unroll
    for(int i=0;i<8;i++)
      #pragma unroll
      for(int j=0;j<8;j++)acc[i][j]=0.f;
    {const float*wa=Ws+g*KH*N+rowA,*wb=Ws+g*KH*N+rowB,*h0=hc+g*KH*LDB+c0;
    #pragma unroll UNR
    for(int k=0;k<KH;k++)outer8(acc,ld4(wa+k*N),ld4(wb+k*N),ld4(h0+k*LDB),ld4(h0+k*LDB+BT/2));}
    #pragma unroll
    for(int i=0;i<4;i++){st4(hn+(rowB+i)*LDB+c0,acc[4+i][0],acc[4+i][1],acc[4+i][2],acc[4+i][3]);st4(hn+(rowB+i)*LDB+c1,acc[4+i][4],acc[4+i][5],acc[4+i][6],acc[4+i][7]);}
    __syncthreads();
    if(xn)*(float4*)(hn+(N+xo)*LDB+xb)=xv;
    ro.target(t_g+(long)t*3*B);
    float*hg=h_g+(long)t*N*B;
    #pragma unroll
    for(int i=0;i<4;i++)
      #pragma unroll
      for(int q=0;q<2;q++){int c=q?c1:c0; float*s=hn+(rowA+i)*LDB+c; float4 z=*(float4*)s,o=ld4(hc+(rowA+i)*LDB+c);
        o.x=fmaf(AL,tanh_acc(acc[i][4*q]+z.x),KEEP*o.x);o.y=fmaf(AL,tanh_acc(acc[i][4*q+1]+z.y),KEEP*o.y);
        o.z=fmaf(AL,tanh_acc(acc[i][4*q+2]+z.z),KEEP*o.z);o.w=fmaf(AL,tanh_acc(acc[i][4*q+3]+z.w),KEEP*o.w);
        *(float4*)s=o; *(float4*)(hg+(rowA+i)*B+c)=o;}
    if(t)ro.accR(hc,es);
    __syncthreads();
  }
  float*hc=hs+(T&1)*KT*LDB; ro.readout(hc,R4,es,e_g+(long)(T-1)*3*B,dv,sc); __syncthreads(); ro.accR(hc,es);
  ro.finish(hs+((T+1)&1)*KT*LDB,GF+(long)blockIdx.x*fsize(N));
}
// backward: one block per network. Group A (KG*N threads) holds dL/dh in registers and computes dz and W^T dz (rows N..N+2 of W and dz are R and the readout error);
// group B (N*N/64 threads) holds dW in registers and adds dz h^T. dz overwrites h_{t+1} in place. NBUF = 3: h_{t-1} is fetched during the products; 2: after them (less shared memory, more blocks).
template<int N,int KG,int NBUF> struct K{static constexpr int TA=KG*N,TB=N*N/64,TH=TA+TB,LD=B+4,KT=N+4;static constexpr size_t smem=4*(KT*N+NBUF*KT*LD+6*B+(KG==2?N*B:0));};
template<int N,int KG,int NBUF,int MINB> __global__ void __launch_bounds__(K<N,KG,NBUF>::TH,MINB)
bwd(const float*__restrict__ P,const float*__restrict__ X,const float*__restrict__ H,const float*__restrict__ Eg,float*__restrict__ G,int T){
  using C=K<N,KG,NBUF>; constexpr int TA=C::TA,TB=C::TB,TH=C::TH,LD=C::LD,KT=C::KT,OR=8/KG,KH=KT/KG; constexpr int UNR=N==64?17:11;
  extern __shared__ float4 sm4[]; float*Ws=(float*)sm4,*bf=Ws+KT*N,*xs=bf+NBUF*KT*LD,*scr=xs+6*B;
  const int tid=KG==1?threadIdx.x^((blockIdx.x/132&1)*N):threadIdx.x,net=blockIdx.x; // KG=1: every second block of an SM swaps the roles of its warps, so that each scheduler has both
  const float*p=P+net*psize(N),*pR=p+N*N+4*N,*h_g=H+(long)net*T*N*B,*e_g=Eg+(long)net*T*3*B; float*g_g=G+net*gsize(N);
  for(int i=tid;i<N*N;i+=TH)Ws[i]=p[i];
  for(int i=tid;i<3*N;i+=TH)Ws[N*N+i]=pR[i];
  for(int i=tid;i<N;i+=TH)Ws[(N+3)*N+i]=0.f;
  for(int i=tid;i<NBUF*LD;i+=TH)bf[(i/LD*KT+N+3)*LD+i%LD]=0.f;
  auto load=[&](float*b,int s,int id,int n){ // h_s (zero for s=0), e_{s-2} and x_s
    if(s){const float*src=h_g+(long)(s-1)*N*B;for(int i=id;i<N*16;i+=n)cp16(b+(i>>4)*LD+4*(i&15),src+4*i);}
    else for(int i=id;i<N*16;i+=n)st4(b+(i>>4)*LD+4*(i&15),0.f,0.f,0.f,0.f);
    if(s>=2){const float*src=e_g+(long)(s-2)*3*B;for(int i=id;i<48;i+=n)cp16(b+(N+(i>>4))*LD+4*(i&15),src+4*i);}
    if(s<T){const float*src=X+(long)s*3*B;for(int i=id;i<48;i+=n)cp16(xs+(s&1)*3*B+4*i,src+4*i);}};
  float*bp=bf,*bq=bf+KT*LD,*bs=bf+(NBUF-1)*KT*LD;
  load(bp,T,tid,TH);load(bq,T-1,tid,TH);cpcommit();cpwait<0>();
  __syncthreads();
  const int lane=tid&31,l4=(lane&1)|((lane>>4)<<1),l8=(lane>>1)&7;
  if(tid<TA){
    const int g=tid/N,ai=(tid%N)/32*4+l4,rowA=((KG==2&&g)?N/2:0)+4*ai,rowB=((KG==2&&g)?0:N/2)+4*ai,c0=4*l8;
    float acc[8][8];
    #pragma unroll
    for(int i=0;i<8;i++)
      #pragma unroll
      for(int j=0;j<8;j++){acc[i][j]=0.f;
        if(i<OR){const float*e=e_g+(long)(T-1)*3*B+(j<4?0:B/2)+c0+(j&3);const float*R=Ws+N*N+(i<4?rowA:rowB)+(i&3);acc[i][j]=R[0]*e[0]+R[N]*e[B]+R[2*N]*e[2*B];}}
    for(int t=T-1;t>=0;t--){
      bar<1,TH>(); // h_{t+1}, h_t, e_{t-1} are there
      #pragma unroll
      for(int i=0;i<OR;i++)
        #pragma unroll
        for(int q=0;q<2;q++){int o=((i<4?rowA:rowB)+(i&3))*LD+c0+q*(B/2); float4 a=ld4(bp+o),b=ld4(bq+o),z; float*d=acc[i]+4*q;
          #define DZ(f,j) {float r=fmaf(-KEEP,b.f,a.f);z.f=d[j]*fmaf(r*(-1.f/AL),r,AL);d[j]*=KEEP;} // r = a tanh: a(1-tanh^2) = a-r^2/a
          DZ(x,0)DZ(y,1)DZ(z,2)DZ(w,3)
          *(float4*)(bp+o)=z;}
      bar<2,TH>(); // dz_t is there
      if(t){
        if(KG==2){
          #pragma unroll
          for(int i=4;i<8;i++)
            #pragma unroll
            for(int j=0;j<8;j++)acc[i][j]=0.f;}
        const float*wa=Ws+g*KH*N+rowA,*wb=Ws+g*KH*N+rowB,*z0=bp+g*KH*LD+c0;
        #pragma unroll UNR
        for(int k=0;k<KH;k++)outer8(acc,ld4(wa+k*N),ld4(wb+k*N),ld4(z0+k*LD),ld4(z0+k*LD+B/2));
        if(KG==2){ // exchange halves
          #pragma unroll
          for(int i=0;i<4;i++){st4(scr+(rowB+i)*B+c0,acc[4+i][0],acc[4+i][1],acc[4+i][2],acc[4+i][3]);st4(scr+(rowB+i)*B+c0+B/2,acc[4+i][4],acc[4+i][5],acc[4+i][6],acc[4+i][7]);}
          bar<3,TA>();
          #pragma unroll
          for(int i=0;i<4;i++)
            #pragma unroll
            for(int q=0;q<2;q++){float4 v=ld4(scr+(rowA+i)*B+c0+q*(B/2));acc[i][4*q]+=v.x;acc[i][4*q+1]+=v.y;acc[i][4*q+2]+=v.z;acc[i][4*q+3]+=v.w;}}
      }
      if(NBUF==2){bar<4,TH>(); if(t){load(bp,t-1,tid,TH);cpcommit();cpwait<0>();} float*x=bp;bp=bq;bq=x;}
      else{float*x=bp;bp=bq;bq=bs;bs=x;}
    }
  }else{
    const int tb=tid-TA,w=tb/32; constexpr int Q=N/8,UP=TB/N,CH=16/UP;
    constexpr int UNB=(N==64&&NBUF==3)?2:1; const int ri=(w%(Q/4))*4+l4,ci=(w/(Q/4))*8+l8,nu=tb%N,part=tb/N;
    float acc[8][8],du0=0,du1=0,du2=0,db=0;
    #pragma unroll
    for(int i=0;i<8;i++)
      #pragma unroll
      for(int j=0;j<8;j++)acc[i][j]=0.f;
    for(int t=T-1;t>=0;t--){
      bar<1,TH>();
      if(t){
        if(NBUF==3){load(bs,t-1,tb,TB);cpcommit();}
        else if(t>1){const float*src=h_g+(long)(t-2)*N*B;for(int i=tb;i<N*2;i+=TB)asm volatile("prefetch.global.L2 [%0];"::"l"(src+32*i));}
      }
      bar<2,TH>();
      {const float*zp=bp+nu*LD+part*CH*4,*xp=xs+(t&1)*3*B+part*CH*4;
      #pragma unroll 4
      for(int c=0;c<CH;c++){float4 z=ld4(zp+4*c),a=ld4(xp+4*c),b=ld4(xp+B+4*c),e=ld4(xp+2*B+4*c); db+=(z.x+z.y)+(z.z+z.w);
        du0=fmaf(z.x,a.x,du0);du1=fmaf(z.x,b.x,du1);du2=fmaf(z.x,e.x,du2); du0=fmaf(z.y,a.y,du0);du1=fmaf(z.y,b.y,du1);du2=fmaf(z.y,e.y,du2);
        du0=fmaf(z.z,a.z,du0);du1=fmaf(z.z,b.z,du1);du2=fmaf(z.z,e.z,du2); du0=fmaf(z.w,a.w,du0);du1=fmaf(z.w,b.w,du1);du2=fmaf(z.w,e.w,du2);}}
      if(t){const float*zp=bp+ri*LD,*hp=bq+ci*LD;
        #pragma unroll UNB
        for(int c=0;c<16;c++){float4 z[8];
          #pragma unroll
          for(int i=0;i<8;i++)z[i]=ld4(zp+i*Q*LD+4*c);
          #pragma unroll
          for(int j=0;j<8;j++){float4 h=ld4(hp+j*Q*LD+4*c);
            #pragma unroll
            for(int i=0;i<8;i++)acc[i][j]=fmaf(z[i].x,h.x,acc[i][j]);
            #pragma unroll
            for(int i=0;i<8;i++)acc[i][j]=fmaf(z[i].y,h.y,acc[i][j]);
            #pragma unroll
            for(int i=0;i<8;i++)acc[i][j]=fmaf(z[i].z,h.z,acc[i][j]);
            #pragma unroll
            for(int i=0;i<8;i++)acc[i][j]=fmaf(z[i].w,h.w,acc[i][j]);}}}
      if(NBUF==2){bar<4,TH>(); if(t){load(bp,t-1,tid,TH);cpcommit();cpwait<0>();} float*x=bp;bp=bq;bq=x;}
      else{cpwait<0>(); float*x=bp;bp=bq;bq=bs;bs=x;}
    }
    #pragma unroll
    for(int i=0;i<8;i++)
      #pragma unroll
      for(int j=0;j<8;j++)g_g[(ri+Q*i)*N+ci+Q*j]=acc[i][j];
    if(UP==2){ // fixed order: part 0 + part 1 (xs is free: two barriers of group B around)
      bar<5,TB>(); float*s=scr; // group A left scr before its last barrier with B
      if(part){s[nu]=du0;s[N+nu]=du1;s[2*N+nu]=du2;s[3*N+nu]=db;}
      bar<5,TB>(); if(!part){du0+=s[nu];du1+=s[N+nu];du2+=s[2*N+nu];db+=s[3*N+nu];}}
    if(!part){float*q=g_g+N*N+3*nu;q[0]=du0;q[1]=du1;q[2]=du2;g_g[N*N+3*N+nu]=db;}
  }
}
// Adam; sums the nf partial gradients of R and d left by the forward blocks in fixed order
__global__ void adam(int N,int E,int nf,float*__restrict__ P,float*__restrict__ M,float*__restrict__ V,const float*__restrict__ G,const float*__restrict__ GF,float c1,float c2){
  const int np=N*N+7*N+3,gs=N*N+4*N; const long ps=psize(N);
  int net=blockIdx.y; for(int i=blockIdx.x*blockDim.x+threadIdx.x;i<np;i+=gridDim.x*blockDim.x){
    float g; if(i<gs)g=G[(long)net*gs+i]; else{g=0;for(int f=0;f<nf;f++)g+=GF[((long)net*nf+f)*fsize(N)+i-gs];}
    long o=net*ps+i; float m=M[o]=fmaf(.9f,M[o],.1f*g),v=V[o]=fmaf(.999f,V[o],.001f*g*g); P[o]-=1e-4f*(m*c1)/(sqrtf(v*c2)+1e-8f);}}
__global__ void initp(int N,int E,float*P){const long ps=psize(N);const float s=3.46f*rsqrtf((float)N);
  for(long q=blockIdx.x*(long)blockDim.x+threadIdx.x;q<ps*E;q+=(long)gridDim.x*blockDim.x){int i=q%ps; unsigned long long z=q*0x9E3779B97F4A7C15ull+12345; z=(z^(z>>30))*0xBF58476D1CE4E5B9ull;z=(z^(z>>27))*0x94D049BB133111EBull;z^=z>>31;
    float u=(float)(unsigned)(z>>40)*(1.f/16777216.f)-.5f; P[q]=i<N*N?u*s:i<N*N+4*N?u:i<N*N+7*N?u*s:i<N*N+7*N+3?u:0.f;}}
__global__ void finite(const float*p,long n,int*bad){for(long i=blockIdx.x*(long)blockDim.x+threadIdx.x;i<n;i+=(long)gridDim.x*blockDim.x)if(!isfinite(p[i]))*bad=1;}

// ---------------- N = 256, 512: W streamed from L2/HBM in tiles of 8 rows (four-stage cp.async), state of all 64 trials in shared memory, N threads of 8x8; dW is one batched SGEMM afterwards ----------------
// H[net][n][(T+1)*64] holds h_0..h_T, DZ[net][n][T*64]
template<int N> struct L{static constexpr int TH=N,LD=B+4,NK=N/8;static constexpr size_t fsm=4*(N*LD+4*8*N+4*N+4*N+3*B+3*B),bsm=4*(N*LD+4*8*N+3*N+6*B);};
template<int N> __global__ void transposeW(const float*__restrict__ P,float*__restrict__ WT){__shared__ float s[32][33];const float*p=P+blockIdx.z*psize(N);float*q=WT+(long)blockIdx.z*N*N;int x=blockIdx.x*32,y=blockIdx.y*32;
  for(int i=threadIdx.y;i<32;i+=8)s[i][threadIdx.x]=p[(long)(y+i)*N+x+threadIdx.x]; __syncthreads(); for(int i=threadIdx.y;i<32;i+=8)q[(long)(x+i)*N+y+threadIdx.x]=s[threadIdx.x][i];}
template<int N,int MINB> __global__ void __launch_bounds__(N,MINB)
fwdL(const float*__restrict__ P,const float*__restrict__ WT,const float*__restrict__ X,const float*__restrict__ TGT,float*__restrict__ H,float*__restrict__ Eg,float*__restrict__ GF,int T,float sc){
  using C=L<N>; constexpr int LD=C::LD,NK=C::NK; extern __shared__ float4 sm4[]; float*hs=(float*)sm4,*st=hs+N*LD,*Us=st+4*8*N; float4*R4=(float4*)(Us+4*N); float*es=(float*)(R4+N),*xs=es+3*B;
  const int tid=threadIdx.x,net=blockIdx.x,lane=tid&31,ai=tid/32*4+((lane&1)|((lane>>4)<<1)),bj=(lane>>1)&7; const float*p=P+net*psize(N),*pU=p+N*N,*pb=pU+3*N,*pR=pb+N,*pd=pR+3*N,*wt=WT+(long)net*N*N;
  const long ldh=(long)(T+1)*B; float*h_g=H+(long)net*N*ldh,*e_g=Eg+(long)net*T*3*B; const int total=T*NK;
  auto stage=[&](int q){if(q<total){const float*src=wt+(long)(q%NK)*8*N;float*d=st+(q&3)*8*N;cp16(d+4*tid,src+4*tid);cp16(d+4*tid+4*N,src+4*tid+4*N);}cpcommit();};
  for(int s=0;s<3;s++)stage(s);
  Us[tid]=pU[3*tid];Us[N+tid]=pU[3*tid+1];Us[2*N+tid]=pU[3*tid+2];Us[3*N+tid]=pb[tid];R4[tid]=make_float4(pR[tid],pR[N+tid],pR[2*N+tid],0.f);
  for(int i=tid;i<N*LD;i+=N)hs[i]=0.f;
  for(int i=tid;i<N*16;i+=N)st4(h_g+(i>>4)*ldh+4*(i&15),0.f,0.f,0.f,0.f);
  if(tid<3*B)xs[tid]=X[tid];
  float dv[3]={pd[0],pd[1],pd[2]}; RO<N,B,N> ro;ro.init(tid); const int rA=4*ai,rB=N/2+4*ai,c0=4*bj,c1=B/2+4*bj; int q=0;
  __syncthreads();
  for(int t=0;t<T;t++){
    if(t)ro.readout(hs,R4,es,e_g+(long)(t-1)*3*B,dv,sc);
    float acc[8][8];
    #pragma unroll
    for(int i=0;i<8;i++)
      #pragma unroll
      for(int j=0;j<8;j++)acc[i][j]=Us[3*N+(i<4?rA:rB)+(i&3)];
    #pragma unroll
    for(int k=0;k<3;k++)outer8(acc,ld4(Us+k*N+rA),ld4(Us+k*N+rB),ld4(xs+k*B+c0),ld4(xs+k*B+c1));
    #pragma unroll 1
    for(int kt=0;kt<NK;kt++,q++){cpwait<2>();__syncthreads();stage(q+3); const float*w=st+(q&3)*8*N,*h=hs+kt*8*LD;
      #pragma unroll
      for(int k=0;k<8;k++)outer8(acc,ld4(w+k*N+rA),ld4(w+k*N+rB),ld4(h+k*LD+c0),ld4(h+k*LD+c1));}
    if(t)ro.accR(hs,es);
    __syncthreads();
    if(t+1<T&&tid<3*B)xs[tid]=X[(long)(t+1)*3*B+tid];
    ro.target(TGT+(long)t*3*B);
    #pragma unroll
    for(int i=0;i<8;i++)
      #pragma unroll
      for(int u=0;u<2;u++){int r=(i<4?rA:rB)+(i&3),c=u?c1:c0; float4 o=ld4(hs+r*LD+c); float*a=acc[i]+4*u;
        o.x=fmaf(AL,tanh_acc(a[0]),KEEP*o.x);o.y=fmaf(AL,tanh_acc(a[1]),KEEP*o.y);o.z=fmaf(AL,tanh_acc(a[2]),KEEP*o.z);o.w=fmaf(AL,tanh_acc(a[3]),KEEP*o.w);
        *(float4*)(hs+r*LD+c)=o;*(float4*)(h_g+r*ldh+(long)(t+1)*B+c)=o;}
    __syncthreads();
  }
  cpwait<0>(); ro.readout(hs,R4,es,e_g+(long)(T-1)*3*B,dv,sc); __syncthreads(); ro.accR(hs,es); ro.finish(st,GF+(long)net*fsize(N));
}
template<int N,int MINB> __global__ void __launch_bounds__(N,MINB)
bwdL(const float*__restrict__ P,const float*__restrict__ X,const float*__restrict__ H,const float*__restrict__ Eg,float*__restrict__ DZg,float*__restrict__ G,int T){
  using C=L<N>; constexpr int LD=C::LD,NK=C::NK; extern __shared__ float4 sm4[]; float*zs=(float*)sm4,*st=zs+N*LD,*Rs=st+4*8*N,*es=Rs+3*N,*xs=es+3*B;
  const int tid=threadIdx.x,net=blockIdx.x,lane=tid&31,ai=tid/32*4+((lane&1)|((lane>>4)<<1)),bj=(lane>>1)&7; const float*p=P+net*psize(N),*pR=p+N*N+4*N;
  const long ldh=(long)(T+1)*B,ldz=(long)T*B; const float*h_g=H+(long)net*N*ldh,*e_g=Eg+(long)net*T*3*B; float*z_g=DZg+(long)net*N*ldz,*g_g=G+net*gsize(N); const int total=(T-1)*NK;
  auto stage=[&](int q){if(q<total){const float*src=p+(long)(q%NK)*8*N;float*d=st+(q&3)*8*N;cp16(d+4*tid,src+4*tid);cp16(d+4*tid+4*N,src+4*tid+4*N);}cpcommit();};
  for(int s=0;s<3;s++)stage(s);
  for(int o=0;o<3;o++)Rs[o*N+tid]=pR[o*N+tid];
  if(tid<3*B)es[tid]=e_g[(long)(T-1)*3*B+tid];
  const int rA=4*ai,rB=N/2+4*ai,c0=4*bj,c1=B/2+4*bj; int q=0; float acc[8][8],du0=0,du1=0,du2=0,db=0;
  #pragma unroll
  for(int i=0;i<8;i++)
    #pragma unroll
    for(int j=0;j<8;j++)acc[i][j]=0.f;
  __syncthreads();
  #pragma unroll
  for(int k=0;k<3;k++)outer8(acc,ld4(Rs+k*N+rA),ld4(Rs+k*N+rB),ld4(es+k*B+c0),ld4(es+k*B+c1));
  __syncthreads();
  for(int t=T-1;t>=0;t--){
    if(tid<3*B){xs[tid]=X[(long)t*3*B+tid];if(t)es[tid]=e_g[(long)(t-1)*3*B+tid];}
    #pragma unroll
    for(int i=0;i<8;i++)
      #pragma unroll
      for(int u=0;u<2;u++){int r=(i<4?rA:rB)+(i&3),c=u?c1:c0; const float*hp=h_g+r*ldh+(long)t*B+c; float4 b=ld4(hp),a=ld4(hp+B),z; float*d=acc[i]+4*u;
        DZ(x,0)DZ(y,1)DZ(z,2)DZ(w,3)
        *(float4*)(zs+r*LD+c)=z;*(float4*)(z_g+r*ldz+(long)t*B+c)=z;}
    __syncthreads();
    if(t){const float*src=h_g+tid*ldh+(long)(t-1)*B;asm volatile("prefetch.global.L2 [%0];"::"l"(src));asm volatile("prefetch.global.L2 [%0];"::"l"(src+32));}
    {const float*zp=zs+tid*LD;
    #pragma unroll 2
    for(int c=0;c<16;c++){float4 z=ld4(zp+4*c),a=ld4(xs+4*c),b=ld4(xs+B+4*c),e=ld4(xs+2*B+4*c); db+=(z.x+z.y)+(z.z+z.w);
      du0=fmaf(z.x,a.x,du0);du1=fmaf(z.x,b.x,du1);du2=fmaf(z.x,e.x,du2); du0=fmaf(z.y,a.y,du0);du1=fmaf(z.y,b.y,du1);du2=fmaf(z.y,e.y,du2);
      du0=fmaf(z.z,a.z,du0);du1=fmaf(z.z,b.z,du1);du2=fmaf(z.z,e.z,du2); du0=fmaf(z.w,a.w,du0);du1=fmaf(z.w,b.w,du1);du2=fmaf(z.w,e.w,du2);}}
    if(t){
      #pragma unroll
      for(int k=0;k<3;k++)outer8(acc,ld4(Rs+k*N+rA),ld4(Rs+k*N+rB),ld4(es+k*B+c0),ld4(es+k*B+c1));
      #pragma unroll 1
      for(int kt=0;kt<NK;kt++,q++){cpwait<2>();__syncthreads();stage(q+3); const float*w=st+(q&3)*8*N,*z=zs+kt*8*LD;
        #pragma unroll
        for(int k=0;k<8;k++)outer8(acc,ld4(w+k*N+rA),ld4(w+k*N+rB),ld4(z+k*LD+c0),ld4(z+k*LD+c1));}
    }
    __syncthreads();
  }
  cpwait<0>(); float*g=g_g+N*N+3*tid;g[0]=du0;g[1]=du1;g[2]=du2;g_g[N*N+3*N+tid]=db;
}

// ---------------- host ----------------
static void reference(int N,int T,const float*p,const float*X,const float*Tg,std::vector<double>&g,double&loss){
  const float*W=p,*U=W+N*N,*b=U+3*N,*R=b+N,*d=R+3*N; std::vector<double> h((long)(T+1)*N*B,0.),r((long)T*N*B),z(N*B),dh(N*B,0.),dn(N*B),e(3*B); g.assign((long)N*N+7*N+3,0.);
  double*gW=g.data(),*gU=gW+N*N,*gb=gU+3*N,*gR=gb+N,*gd=gR+3*N; loss=0; const double sc=2./((double)T*B*3),al=.2,ke=.8;
  for(int t=0;t<T;t++){const double*hc=&h[(long)t*N*B];double*hn=&h[(long)(t+1)*N*B];const float*x=X+t*3*B;
    for(int n=0;n<N;n++){double a[B];for(int m=0;m<B;m++)a[m]=b[n]+(double)U[3*n]*x[m]+(double)U[3*n+1]*x[B+m]+(double)U[3*n+2]*x[2*B+m];
      for(int k=0;k<N;k++){double w=W[n*N+k];const double*q=hc+k*B;for(int m=0;m<B;m++)a[m]+=w*q[m];}
      for(int m=0;m<B;m++){double v=tanh(a[m]);r[((long)t*N+n)*B+m]=v;hn[n*B+m]=ke*hc[n*B+m]+al*v;}}}
  for(int t=T-1;t>=0;t--){const double*hc=&h[(long)t*N*B],*hn=&h[(long)(t+1)*N*B];const float*x=X+t*3*B;
    for(int o=0;o<3;o++){for(int m=0;m<B;m++)e[o*B+m]=(double)d[o]-Tg[(t*3+o)*B+m];for(int n=0;n<N;n++)for(int m=0;m<B;m++)e[o*B+m]+=(double)R[o*N+n]*hn[n*B+m];
      for(int m=0;m<B;m++){double q=e[o*B+m];loss+=q*q;q*=sc;e[o*B+m]=q;gd[o]+=q;}
      for(int n=0;n<N;n++){double s=0;for(int m=0;m<B;m++){s+=e[o*B+m]*hn[n*B+m];dh[n*B+m]+=R[o*N+n]*e[o*B+m];}gR[o*N+n]+=s;}}
    for(int n=0;n<N;n++)for(int m=0;m<B;m++){double v=r[((long)t*N+n)*B+m],q=al*dh[n*B+m]*(1-v*v);z[n*B+m]=q;gb[n]+=q;for(int i=0;i<3;i++)gU[3*n+i]+=q*x[i*B+m];}
    for(int i=0;i<N*B;i++)dn[i]=ke*dh[i];
    for(int n=0;n<N;n++){const double*zz=&z[n*B];for(int k=0;k<N;k++){double w=W[n*N+k];const double*q=hc+k*B;double*o=&dn[k*B];double s[8]={0};
      for(int m=0;m<B;m+=8)for(int j=0;j<8;j++){o[m+j]+=w*zz[m+j];s[j]+=zz[m+j]*q[m+j];} gW[n*N+k]+=((s[0]+s[1])+(s[2]+s[3]))+((s[4]+s[5])+(s[6]+s[7]));}}
    dh.swap(dn);}
  loss/=(double)T*B*3;}
template<class Fn> static float timed(int rep,int inner,Fn f){cudaEvent_t a,b;CK(cudaEventCreate(&a));CK(cudaEventCreate(&b));float best=1e30f;
  for(int r=0;r<rep;r++){CK(cudaEventRecord(a));for(int i=0;i<inner;i++)f();CK(cudaEventRecord(b));CK(cudaEventSynchronize(b));CK(cudaGetLastError());float ms;CK(cudaEventElapsedTime(&ms,a,b));best=std::min(best,ms/inner);}
  CK(cudaEventDestroy(a));CK(cudaEventDestroy(b));return best*1e-3f;}
struct Net{int N,T,E,nf,variant; float *P,*M,*V,*G,*GF,*H,*DZ,*Eg,*WT,*X,*TG; long nH,nDZ,nE,nG,nF,nP,nWT; float sc;};
template<class Kn> static void occ(const char*name,Kn k,int th,size_t sm){CK(cudaFuncSetAttribute(k,cudaFuncAttributeMaxDynamicSharedMemorySize,(int)sm));
  CK(cudaFuncSetAttribute(k,cudaFuncAttributePreferredSharedMemoryCarveout,cudaSharedmemCarveoutMaxShared));
  cudaFuncAttributes a;CK(cudaFuncGetAttributes(&a,k));int n;CK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n,k,th,sm));
  fprintf(stderr,"%s: %d threads, %d registers, %zu bytes spilled/local, %zu bytes shared, %d blocks per SM\n",name,th,a.numRegs,a.localSizeBytes,sm,n); if(n<1){fprintf(stderr,"%s does not fit\n",name);exit(2);}}
template<int N> struct Ops; // NV: number of variants of (forward, backward)
template<> struct Ops<64>{static constexpr int NF=1,NV=2;
  static void setup(){occ("fwd64",fwd<64,64,4>,F<64,64>::TH,F<64,64>::smem);occ("bwd64/2buf",bwd<64,1,2,4>,K<64,1,2>::TH,K<64,1,2>::smem);occ("bwd64/3buf",bwd<64,1,3,3>,K<64,1,3>::TH,K<64,1,3>::smem);}
  static void forward(Net&n){fwd<64,64,4><<<n.E,F<64,64>::TH,F<64,64>::smem>>>(n.P,n.X,n.TG,n.H,n.Eg,n.GF,n.T,n.sc);}
  static void backward(Net&n){if(n.variant==0)bwd<64,1,2,4><<<n.E,K<64,1,2>::TH,K<64,1,2>::smem>>>(n.P,n.X,n.H,n.Eg,n.G,n.T); else bwd<64,1,3,3><<<n.E,K<64,1,3>::TH,K<64,1,3>::smem>>>(n.P,n.X,n.H,n.Eg,n.G,n.T);}
};
template<> struct Ops<128>{static constexpr int NF=2,NV=1;
  static void setup(){occ("fwd128",fwd<128,32,2>,F<128,32>::TH,F<128,32>::smem);occ("bwd128/3buf",bwd<128,2,3,1>,K<128,2,3>::TH,K<128,2,3>::smem);}
  static void forward(Net&n){fwd<128,32,2><<<n.E*2,F<128,32>::TH,F<128,32>::smem>>>(n.P,n.X,n.TG,n.H,n.Eg,n.GF,n.T,n.sc);}
  static void backward(Net&n){bwd<128,2,3,1><<<n.E,K<128,2,3>::TH,K<128,2,3>::smem>>>(n.P,n.X,n.H,n.Eg,n.G,n.T);}
};
#ifdef USE_CUBLAS
#define CB(x) do{cublasStatus_t e_=(x);if(e_!=CUBLAS_STATUS_SUCCESS){fprintf(stderr,"%s:%d: %s: cublas status %d\n",__FILE__,__LINE__,#x,(int)e_);exit(2);}}while(0)
static cublasHandle_t cb;
template<int N,int MINB> struct OpsL{static constexpr int NF=1,NV=1;
  static void setup(){CB(cublasCreate(&cb));CB(cublasSetMathMode(cb,CUBLAS_PEDANTIC_MATH));occ("fwdL",fwdL<N,MINB>,N,L<N>::fsm);occ("bwdL",bwdL<N,MINB>,N,L<N>::bsm);}
  static void forward(Net&n){transposeW<N><<<dim3(N/32,N/32,n.E),dim3(32,8)>>>(n.P,n.WT);fwdL<N,MINB><<<n.E,N,L<N>::fsm>>>(n.P,n.WT,n.X,n.TG,n.H,n.Eg,n.GF,n.T,n.sc);}
  static void backward(Net&n){bwdL<N,MINB><<<n.E,N,L<N>::bsm>>>(n.P,n.X,n.H,n.Eg,n.DZ,n.G,n.T); const float one=1,zero=0; int ldh=(n.T+1)*B,ldz=n.T*B; // column major: dW^T (k x n) = H^T DZ
    CB(cublasSgemmStridedBatched(cb,CUBLAS_OP_T,CUBLAS_OP_N,N,N,n.T*B,&one,n.H,ldh,(long long)N*ldh,n.DZ,ldz,(long long)N*ldz,&zero,n.G,N,gsize(N),n.E));}
};
template<> struct Ops<256>:OpsL<256,2>{}; template<> struct Ops<512>:OpsL<512,1>{};
#endif
static void poison(float*p,long n){if(n)CK(cudaMemset(p,0xFF,n*4));}
template<int N> static int run(int T,int E,int rep){
  using O=Ops<N>; cudaDeviceProp dp;CK(cudaGetDeviceProperties(&dp,0)); Net n{};n.N=N;n.T=T;n.E=E;n.nf=O::NF;n.sc=2.f/((float)T*B*3);
  const int np=N*N+7*N+3; n.nP=psize(N)*E;n.nG=gsize(N)*E;n.nF=fsize(N)*E*O::NF;n.nE=(long)E*T*3*B; const bool big=N>128; n.nH=(long)E*N*B*(big?T+1:T);n.nDZ=big?(long)E*N*B*T:0;n.nWT=big?(long)E*N*N:0;
  CK(cudaMalloc(&n.P,n.nP*4));CK(cudaMalloc(&n.M,n.nP*4));CK(cudaMalloc(&n.V,n.nP*4));CK(cudaMalloc(&n.G,n.nG*4));CK(cudaMalloc(&n.GF,n.nF*4));CK(cudaMalloc(&n.H,n.nH*4));CK(cudaMalloc(&n.Eg,n.nE*4));
  if(big){CK(cudaMalloc(&n.DZ,n.nDZ*4));CK(cudaMalloc(&n.WT,n.nWT*4));}
  CK(cudaMalloc(&n.X,(long)T*3*B*4));CK(cudaMalloc(&n.TG,(long)T*3*B*4));
  std::vector<float> X(T*3*B),Tg(T*3*B);unsigned s=7;auto rnd=[&]{s=s*1664525u+1013904223u;return ((s>>8)/(float)(1<<24)-.5f)*2.f;};for(auto&v:X)v=rnd();for(auto&v:Tg)v=rnd();
  CK(cudaMemcpy(n.X,X.data(),X.size()*4,cudaMemcpyHostToDevice));CK(cudaMemcpy(n.TG,Tg.data(),Tg.size()*4,cudaMemcpyHostToDevice));
  O::setup(); int it=0;
  auto update=[&]{it++;float c1=(float)(1/(1-pow(.9,it))),c2=(float)(1/(1-pow(.999,it)));adam<<<dim3((np+1023)/1024,E),256>>>(N,E,O::NF,n.P,n.M,n.V,n.G,n.GF,c1,c2);};
  auto whole=[&]{O::forward(n);O::backward(n);update();};
  // check: networks 0 and q, two updates (the second from moved parameters and non-zero moments), every buffer poisoned before each
  const int q=E>1?1+(int)(2654435761u%(unsigned)(E-1)):0; const int nets[2]={0,q}; double worst=0,worstloss=0,worstadam=0,worstpart[5]={0},loss0=0; bool bad=false;
  std::vector<float> p(np),p2(np),m(np),v(np),g(np),gf(fsize(N)*O::NF); std::vector<double> ref;
  for(int var=0;var<O::NV;var++){ n.variant=var; it=0; initp<<<1024,256>>>(N,E,n.P);CK(cudaMemset(n.M,0,n.nP*4));CK(cudaMemset(n.V,0,n.nP*4));
    std::vector<double> hm[2],hv[2];for(int k=0;k<2;k++){hm[k].assign(np,0);hv[k].assign(np,0);}
    for(int step=0;step<2;step++){ poison(n.G,n.nG);poison(n.GF,n.nF);poison(n.H,n.nH);poison(n.Eg,n.nE);poison(n.DZ,n.nDZ);poison(n.WT,n.nWT);
      std::vector<float> before[2];for(int k=0;k<2;k++){before[k].resize(np);CK(cudaMemcpy(before[k].data(),n.P+nets[k]*psize(N),np*4L,cudaMemcpyDeviceToHost));}
      whole();CK(cudaGetLastError());CK(cudaDeviceSynchronize());
      for(int k=0;k<2;k++){ CK(cudaMemcpy(g.data(),n.G+nets[k]*gsize(N),gsize(N)*4,cudaMemcpyDeviceToHost));CK(cudaMemcpy(gf.data(),n.GF+(long)nets[k]*O::NF*fsize(N),gf.size()*4,cudaMemcpyDeviceToHost));
        double L=0; for(int i=0;i<3*N+3;i++){float a=0;for(int f=0;f<O::NF;f++)a+=gf[f*fsize(N)+i];g[gsize(N)+i]=a;} for(int f=0;f<O::NF;f++)L+=gf[f*fsize(N)+3*N+3]; L/=(double)T*B*3;
        if(step==0||N<=128){ double lr; reference(N,T,before[k].data(),X.data(),Tg.data(),ref,lr); double num=0,den=0; int edge[6]={0,N*N,N*N+3*N,N*N+4*N,N*N+7*N,np};
          for(int a=0;a<5;a++){double nu=0,de=0;for(int i=edge[a];i<edge[a+1];i++){double d=g[i]-ref[i];nu+=d*d;de+=ref[i]*ref[i];}num+=nu;den+=de;double r=sqrt(nu/de);if(!(r<=worstpart[a]))worstpart[a]=r;if(!(r<=1e-4))bad=true;}
          double r=sqrt(num/den),rl=fabs(L-lr)/lr; if(!(r<=worst))worst=r; if(!(rl<=worstloss))worstloss=rl; if(!(r<=1e-4)||!(rl<=1e-4))bad=true; if(!k&&!step)loss0=L;}
        CK(cudaMemcpy(p2.data(),n.P+nets[k]*psize(N),np*4L,cudaMemcpyDeviceToHost)); double b1=1-pow(.9,step+1),b2=1-pow(.999,step+1);
        for(int i=0;i<np;i++){double&a=hm[k][i],&c=hv[k][i];a=.9*a+.1*g[i];c=.999*c+.001*(double)g[i]*g[i];double want=before[k][i]-1e-4*(a/b1)/(sqrt(c/b2)+1e-8),er=fabs(want-p2[i])/1e-4;if(!(er<=worstadam))worstadam=er;}
      } } }
  if(!(worstadam<=1e-2))bad=true; // one float32 rounding of the parameter is up to 1e-3 of a step
  // time
  double best=1e30,fs=0,bs=0,us=0; int bestv=0; double per[4]; whole();CK(cudaDeviceSynchronize());
  for(int var=0;var<O::NV;var++){ n.variant=var; for(int i=0;i<3;i++)whole(); CK(cudaDeviceSynchronize()); float once=timed(1,1,whole); int inner=std::max(1,std::min(20,(int)(.1/once))); double w=timed(rep,inner,whole); per[var]=w; if(w<best){best=w;bestv=var;} }
  n.variant=bestv; fs=timed(rep,3,[&]{O::forward(n);});bs=timed(rep,3,[&]{O::backward(n);});us=timed(rep,3,update);
  int*bd,hb=0;CK(cudaMalloc(&bd,4));CK(cudaMemset(bd,0,4));finite<<<1024,256>>>(n.P,n.nP,bd);finite<<<1024,256>>>(n.G,n.nG,bd);finite<<<1024,256>>>(n.GF,n.nF,bd);CK(cudaMemcpy(&hb,bd,4,cudaMemcpyDeviceToHost)); if(hb)bad=true;
  CK(cudaMemcpy(gf.data(),n.GF,gf.size()*4,cudaMemcpyDeviceToHost));double L=0;for(int f=0;f<O::NF;f++)L+=gf[f*fsize(N)+3*N+3];L/=(double)T*B*3;
  double fl=6.*((double)N*N+6.*N)*B*T*E;
  printf("{\"bench\":\"train_step\",\"lib\":\"cuda\",\"cell\":\"leaky\",\"device\":\"%s\",\"hidden\":%d,\"batch\":%d,\"T\":%d,\"ens\":%d,\"min_s\":%g,\"train_steps_per_s\":%.1f,\"GFLOPs\":%.1f,\"forward_s\":%g,\"backward_s\":%g,\"update_s\":%g,\"variant\":%d,\"variant_s\":[",dp.name,N,B,T,E,best,E/best,fl/best/1e9,fs,bs,us,bestv);
  for(int i=0;i<O::NV;i++)printf("%s%g",i?",":"",per[i]);
  printf("],\"max_gradient_error\":%.3g,\"gradient_error_W_U_b_R_d\":[%.3g,%.3g,%.3g,%.3g,%.3g],\"loss_error\":%.3g,\"adam_error_steps\":%.3g,\"all_finite\":%s,\"loss_first\":%g,\"loss_last\":%g,\"ok\":%s}\n",worst,worstpart[0],worstpart[1],worstpart[2],worstpart[3],worstpart[4],worstloss,worstadam,hb?"false":"true",loss0,L,bad?"false":"true");
  if(bad)fprintf(stderr,"CHECK FAILED\n"); return bad?1:0;}
int main(int c,char**a){
  if(c<4){fprintf(stderr,"usage: fused_leaky N T E [repeats]\n");return 2;} int N=atoi(a[1]),T=atoi(a[2]),E=atoi(a[3]),rep=c>4?atoi(a[4]):10; if(T<2||E<1||rep<1||E>65535){fprintf(stderr,"need T >= 2, 1 <= E <= 65535, repeats >= 1\n");return 2;}
  switch(N){case 64:return run<64>(T,E,rep);case 128:return run<128>(T,E,rep);
#ifdef USE_CUBLAS
    case 256:return run<256>(T,E,rep);case 512:return run<512>(T,E,rep);
#endif
  } fprintf(stderr,"N must be 64 or 128 (256 and 512 with -DUSE_CUBLAS)\n");return 2;}
